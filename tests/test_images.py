from __future__ import annotations

import io
import math
import os
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from regraft.data import images
from regraft.data.exif import jpeg_exif, orientation_of, upright
from regraft.data.images import (
    MAX_PIXELS,
    PictureError,
    array_digest,
    decode,
    decode_crop,
    digest,
    read_picture,
    resize_crop,
    to_rgb,
)
from regraft.errors import UserError

Pixels = NDArray[np.uint8]


def smooth(height: int, width: int, seed: int = 0) -> Pixels:
    """A photo-like picture: smooth blobs of colour, so that JPEG keeps it nearly unchanged."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def saved(image: Image.Image | Pixels, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    image.save(file, kind, **options)
    return file.getvalue()


def distance(a: Pixels, b: Pixels) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(int) - b.astype(int)).mean())


# --- decoding: formats -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP", "GIF", "SGI", "JPEG2000"])
def test_lossless_formats_come_back_exactly(kind: str) -> None:
    rgb = np.kron(
        np.random.default_rng(0).integers(0, 256, (3, 4, 3), dtype=np.uint8),
        np.ones((8, 8, 1), np.uint8),
    )
    options = {"WEBP": {"lossless": True}}.get(kind, {})
    image: Image.Image = Image.fromarray(rgb)
    if kind == "GIF":
        image = image.quantize(256, dither=Image.Dither.NONE)
    result = decode(saved(image, kind, **options))
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    if kind == "GIF":
        np.testing.assert_array_equal(result, np.array(image.convert("RGB")))
    else:
        np.testing.assert_array_equal(result, rgb)


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"quality": 30}, {"keep_rgb": True}]
)
def test_jpeg_agrees_with_pillow(options: dict[str, Any]) -> None:
    data = saved(smooth(120, 161), "JPEG", **{"quality": 95, **options})
    reference = np.array(Image.open(io.BytesIO(data)).convert("RGB"))
    assert distance(decode(data), reference) < 1


def test_grey_jpeg_and_png_are_repeated() -> None:
    grey = smooth(40, 50)[:, :, 0]
    for kind, tolerance in (("JPEG", 3), ("PNG", 0)):
        result = decode(saved(grey, kind))
        assert (result[:, :, 0] == result[:, :, 1]).all()
        assert (result[:, :, 0] == result[:, :, 2]).all()
        assert distance(result[:, :, 0], grey) <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_its_high_byte(kind: str) -> None:
    values = np.array([[0, 255, 256, 4095], [32768, 65279, 65280, 65535]], np.uint16)
    result = decode(saved(Image.fromarray(values), kind))
    np.testing.assert_array_equal(result[:, :, 1], values >> 8)


def test_32_bit_grey_is_read_like_16_bit_and_refused_beyond() -> None:
    fine = np.array([[0, 65535], [256, 512]], np.int32)
    np.testing.assert_array_equal(
        decode(saved(Image.fromarray(fine), "TIFF"))[:, :, 0], [[0, 255], [1, 2]]
    )
    for value in (70_000, -1):
        with pytest.raises(PictureError, match=str(value)):
            decode(saved(Image.fromarray(np.array([[0, value]], np.int32)), "TIFF"))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 1.5, 255.0], [0, 2, 255]),
        ([0.0, 257.0, 65535.0], [0, 1, 255]),
    ],
)
def test_float_grey_has_three_scales(values: list[float], expected: list[int]) -> None:
    data = saved(Image.fromarray(np.array([values], np.float32)), "TIFF")
    np.testing.assert_array_equal(decode(data)[0, :, 2], expected)


@pytest.mark.parametrize("value", [-0.5, 1e9, math.nan, math.inf])
def test_float_grey_without_a_scale_is_refused(value: float) -> None:
    data = saved(Image.fromarray(np.array([[0, value]], np.float32)), "TIFF")
    with pytest.raises(PictureError, match="floating-point"):
        decode(data)


def test_bilevel() -> None:
    image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    np.testing.assert_array_equal(decode(saved(image, "PNG"))[:, :, 0], [[0, 255], [255, 0]])


def test_16_bit_colour_png_keeps_the_high_byte() -> None:
    pixel = struct.pack(">HHH", 0x1234, 0xABCD, 0xFF00)
    result = decode(raw_png(1, 1, pixel, depth=16, colour=2))
    np.testing.assert_array_equal(result, [[[0x12, 0xAB, 0xFF]]])


def test_palette_with_and_without_transparency() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putdata([0, 1])
    np.testing.assert_array_equal(decode(saved(image, "PNG")), [[[10, 20, 30], [200, 100, 50]]])
    for transparency, expected in ((1, [255, 255, 255]), (b"\xff\x00", [255, 255, 255])):
        data = saved(image, "PNG", transparency=transparency)
        np.testing.assert_array_equal(decode(data), [[[10, 20, 30], expected]])


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_composited_on_white(kind: str) -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0] = 100
    rgba[0, :, 3] = (0, 51, 255)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    expected = [[[255, 255, 255], [224, 204, 204], [100, 0, 0]]]
    np.testing.assert_array_equal(decode(saved(rgba, kind, **options)), expected)


def test_grey_alpha_and_colour_keys_become_white() -> None:
    la = Image.fromarray(np.array([[[7, 0], [7, 255]]], np.uint8), "LA")
    np.testing.assert_array_equal(decode(saved(la, "PNG"))[0, :, 0], [255, 7])
    rgb = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    keyed = decode(saved(rgb, "PNG", transparency=(1, 2, 3)))
    np.testing.assert_array_equal(keyed, [[[255, 255, 255], [4, 5, 6]]])
    grey = Image.fromarray(np.array([[9, 8]], np.uint8))
    np.testing.assert_array_equal(decode(saved(grey, "PNG", transparency=9))[0, :, 0], [255, 8])


def test_animations_give_their_first_frame() -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(decode(data)[2, 3], [255, 0, 0], err_msg=kind)


def test_cmyk_tiff_and_jpeg_become_rgb() -> None:
    rgb = smooth(32, 48)
    cmyk = Image.fromarray(rgb).convert("CMYK")
    np.testing.assert_array_equal(decode(saved(cmyk, "TIFF")), rgb)
    # Pillow writes CMYK JPEGs as Adobe does: inverted, with a marker that says so.
    data = saved(cmyk, "JPEG", quality=98)
    assert b"Adobe" in data[:200]
    assert distance(decode(data), rgb) < 3


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    rgb = np.full((4, 5, 3), 200, np.uint8)
    path = tmp_path / "picture.jpg"
    path.write_bytes(saved(rgb, "PNG"))
    np.testing.assert_array_equal(decode(read_picture(path)), rgb)


# --- decoding: EXIF ----------------------------------------------------------------------------


def with_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x010F] = "a maker, so that the orientation is not the first tag"
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_agrees_with_pillow(kind: str, orientation: int) -> None:
    rgb = smooth(40, 64, seed=orientation)
    data = saved(rgb, kind, exif=with_orientation(orientation), quality=95)
    reference = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    result = decode(data)
    assert result.shape == ((40, 64, 3) if orientation < 5 else (64, 40, 3))
    assert distance(result, np.array(reference)) < 1
    assert distance(upright(rgb, orientation), np.array(reference)) < 8


def test_orientation_of_big_endian_exif_after_other_segments() -> None:
    tiff = b"MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0" + b"\0\0\0\0"
    body = b"Exif\0\0" + tiff
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    data = saved(smooth(40, 64), "JPEG")
    xmp = b"\xff\xe1\0\x10" + b"http://x\0\0\0\0\0\0"
    turned = data[:2] + xmp + b"\xff" + segment + data[2:]
    assert orientation_of(jpeg_exif(turned)) == 6
    assert decode(turned).shape == (64, 40, 3)


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"Exif\0\0",
        b"II*\0\xff\xff\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff" + b"\0" * 30,
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x09\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x00\0\0\0",
        b"II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x01\0\0\0\x06\0\0\0",
    ],
)
def test_senseless_exif_means_upright(exif: bytes) -> None:
    assert orientation_of(exif) == 1


def test_broken_exif_does_not_lose_the_picture() -> None:
    data = saved(smooth(40, 64), "JPEG")
    broken = data[:2] + b"\xff\xe1\0\x0aExif\0\0II" + data[2:]
    np.testing.assert_array_equal(decode(broken), decode(data))


# --- decoding: bad input -----------------------------------------------------------------------


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.95])
def test_truncated_jpegs_are_refused(part: float, progressive: bool) -> None:
    data = saved(smooth(200, 300), "JPEG", progressive=progressive, quality=95)
    cut = data[: int(len(data) * part)]
    for broken in (cut, cut + b"\xff\xd9"):
        with pytest.raises(PictureError) as caught:
            decode(broken)
        assert "\n" not in caught.value.reason


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "JPEG2000"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(kind: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = saved(noise, kind)
    with pytest.raises(PictureError):
        decode(data[: int(len(data) * part)])


def test_jpegs_with_noise_in_their_scan_are_mostly_refused() -> None:
    # Not always: noise may happen to be valid data.
    refused = 0
    for seed in range(20):
        data = bytearray(saved(smooth(200, 300, seed), "JPEG", quality=95))
        middle = len(data) // 2
        noise = np.random.default_rng(seed).integers(0, 255, 300, dtype=np.uint8)
        data[middle : middle + 300] = noise.tobytes()
        try:
            decode(bytes(data))
        except PictureError:
            refused += 1
    assert refused >= 14


def test_harmless_jpeg_oddities_are_accepted() -> None:
    data = saved(smooth(48, 64), "JPEG")
    expected = decode(data)
    np.testing.assert_array_equal(decode(data + b"trailing junk"), expected)
    table = data.index(b"\xff\xdb")
    padded = data[:table] + b"\0\0\0" + data[table:]
    assert distance(decode(padded), expected) < 1
    assert distance(decode(data[:-2] + b"\0\0" + data[-2:]), expected) < 1
    with pytest.raises(PictureError, match="extraneous"):
        decode(data[:-2] + b"\0" * 40 + data[-2:])


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        b"hello, I am a text file",
        b"<!DOCTYPE html><html></html>",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0" + b"\0" * 100,
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"%PDF-1.4\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        bytes(range(256)) * 20,
        b"RIFF\x10\0\0\0WEBPVP8 ",
        b"II*\0\x08\0\0\0\0\0",
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    with pytest.raises(PictureError) as caught:
        decode(data)
    assert caught.value.reason
    assert caught.value.reason.isprintable()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO"])
def test_fuzzed_files_give_a_picture_or_a_reason(kind: str) -> None:
    original = saved(smooth(24, 32), kind)
    rng = np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(original)
        for _ in range(rng.integers(1, 12)):
            data[rng.integers(0, len(data))] = rng.integers(0, 256)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = decode(bytes(data))
        except PictureError:
            continue
        assert result.ndim == 3
        assert result.shape[2] == 3
        assert result.dtype == np.uint8


def raw_png(width: int, height: int, pixels: bytes, depth: int = 8, colour: int = 2) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"\0" + pixels)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def bombs() -> dict[str, bytes]:
    jpeg = bytearray(saved(smooth(16, 16), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    gif = bytearray(saved(Image.new("P", (4, 4)), "GIF"))
    gif[6:10] = struct.pack("<HH", 65535, 65535)
    bmp = bytearray(saved(smooth(4, 4), "BMP"))
    bmp[18:26] = struct.pack("<ii", 50000, 50000)
    return {
        "JPEG": bytes(jpeg),
        "PNG": raw_png(50000, 50000, b""),
        "GIF": bytes(gif),
        "BMP": bytes(bmp),
        "PPM": b"P6 50000 50000 255\n" + b"\0" * 64,
    }


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "PPM"])
def test_decompression_bombs_are_refused_from_their_header(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unexpected(*_: object, **__: object) -> None:
        raise AssertionError("pixels were asked for")

    monkeypatch.setattr(images.simplejpeg, "decode_jpeg", unexpected)
    monkeypatch.setattr(images, "_load", unexpected)
    with pytest.raises(PictureError, match=str(MAX_PIXELS)):
        decode(bombs()[kind])


def test_large_but_allowed_pictures_raise_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    # Pillow would warn (an error in these tests) from 89 million pixels on.
    sizes = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: sizes.append(image.size))
    monkeypatch.setattr(images, "rgb_of", lambda _: smooth(2, 2))
    decode(raw_png(12000, 12000, b""))
    assert (12000, 12000) in sizes


def test_many_threads_decode_alike() -> None:
    jobs = [
        saved(smooth(50, 60, seed), kind)
        for seed, kind in enumerate(["JPEG", "PNG", "WEBP", "GIF", "TIFF"] * 6)
    ]
    expected = [decode(data) for data in jobs]
    before = threading.active_count()
    with ThreadPoolExecutor(8) as pool:
        for result, reference in zip(pool.map(decode, jobs), expected, strict=True):
            np.testing.assert_array_equal(result, reference)
    assert threading.active_count() == before


# --- reading files -----------------------------------------------------------------------------


def test_read_picture_gives_the_bytes(tmp_path: Path) -> None:
    for name in ("plain.png", "with space.png", "line\nbreak.png", "ünïcode.png"):
        (tmp_path / name).write_bytes(b"abc")
        assert read_picture(tmp_path / name) == b"abc"
    raw = os.fsdecode(b"caf\xe9.png")
    (tmp_path / raw).write_bytes(b"abc")
    assert read_picture(tmp_path / raw) == b"abc"


def test_unreadable_files_have_a_reason(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(images.MAX_BYTES + 1)
    for name, reason in (
        ("missing", "does not exist"),
        ("empty", "empty"),
        ("folder", "directory"),
        ("pipe", "regular file"),
        ("loop", "symbolic links"),
        ("sparse", "more than"),
        ("empty/below", "Not a directory"),
    ):
        with pytest.raises(PictureError, match=reason):
            read_picture(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_files_without_permission_have_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(b"abc")
    path.chmod(0)
    with pytest.raises(PictureError, match="Permission denied"):
        read_picture(path)


def test_permission_errors_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PictureError, match="Permission denied"):
        read_picture(tmp_path / "x")


# --- pictures in memory ------------------------------------------------------------------------


def test_arrays_become_rgb() -> None:
    rgb = smooth(5, 7)
    np.testing.assert_array_equal(to_rgb(rgb), rgb)
    np.testing.assert_array_equal(to_rgb(rgb[::-1, ::2]), rgb[::-1, ::2])
    assert to_rgb(rgb[::-1, ::2]).flags.c_contiguous
    grey = rgb[:, :, 0]
    for same in (grey, grey[:, :, None]):
        np.testing.assert_array_equal(to_rgb(same), np.dstack([grey] * 3))
    alpha = np.dstack([rgb, np.zeros((5, 7), np.uint8)])
    np.testing.assert_array_equal(to_rgb(alpha), np.full((5, 7, 3), 255))


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "I;16", "LA", "1"])
def test_pil_images_are_converted_as_files_are(mode: str) -> None:
    base = Image.fromarray(smooth(6, 9))
    image = base.convert("L").convert("I").convert("I;16") if mode == "I;16" else base.convert(mode)
    kind = "TIFF" if mode == "CMYK" else "PNG"
    np.testing.assert_array_equal(to_rgb(image), decode(saved(image, kind)))


def test_opened_files_are_turned_upright_like_their_bytes() -> None:
    data = saved(smooth(40, 64), "JPEG", exif=with_orientation(6), quality=95)
    result = to_rgb(Image.open(io.BytesIO(data)))
    assert result.shape == (64, 40, 3)
    assert distance(result, decode(data)) < 1
    already = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    np.testing.assert_array_equal(to_rgb(already), result)


def test_a_truncated_opened_file_is_a_picture_error() -> None:
    data = saved(smooth(40, 64), "PNG")
    with pytest.raises(PictureError, match="truncated"):
        to_rgb(Image.open(io.BytesIO(data[: len(data) // 2])))


@pytest.mark.parametrize(
    "thing",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 2), np.uint8),
        np.zeros((3, 4, 4, 3), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros(4, np.uint8),
        [[0, 1], [2, 3]],
        None,
        "a.jpg",
    ],
)
def test_other_objects_are_refused(thing: object) -> None:
    with pytest.raises(UserError, match="uint8"):
        to_rgb(thing)


# --- resizing ----------------------------------------------------------------------------------


def two_steps(
    rgb: Pixels, size: tuple[int, int], crop_pct: float, resample: Image.Resampling
) -> Pixels:
    """Resize, then cut: torchvision's Resize and CenterCrop, written out with Pillow."""
    height, width = rgb.shape[:2]
    short = math.floor(size[0] / crop_pct)
    long = int(short * max(height, width) / min(height, width))
    scaled = (short, long) if width <= height else (long, short)
    image = Image.fromarray(rgb).resize(scaled, resample)
    left = round((image.width - size[1]) / 2)
    top = round((image.height - size[0]) / 2)
    return np.array(image.crop((left, top, left + size[1], top + size[0])))


@pytest.mark.parametrize(
    "shape", [(375, 500), (500, 375), (224, 224), (28, 28), (101, 333), (600, 41)]
)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 1.0])
def test_one_resampling_equals_resize_then_crop(
    shape: tuple[int, int], interpolation: images.Interpolation, crop_pct: float
) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    size = (96, 96)
    result = resize_crop(rgb, size=size, crop_pct=crop_pct, interpolation=interpolation)
    reference = two_steps(rgb, size, crop_pct, Image.Resampling[interpolation.upper()])
    assert result.shape == (96, 96, 3)
    assert result.flags.writeable
    difference = np.abs(result.astype(int) - reference.astype(int))
    # Pillow resamples tall pictures in the other order, and noise is clipped in between.
    assert difference.mean() < (0.5 if shape[0] > shape[1] else 0.02)


def test_oblong_targets_keep_the_aspect_ratio() -> None:
    rgb = smooth(200, 200)
    rgb[:, 98:102] = 0
    result = resize_crop(rgb, size=(64, 96), crop_pct=1.0, interpolation="bicubic")
    assert result.shape == (64, 96, 3)
    whole = np.array(Image.fromarray(rgb).resize((96, 96), Image.Resampling.BICUBIC))
    assert distance(result, whole[16:80]) < 0.05


def test_extreme_shapes_are_resized_in_little_memory() -> None:
    strip = np.full((1, 60_000, 3), 77, np.uint8)
    result = resize_crop(strip, size=(224, 224), crop_pct=0.875, interpolation="bicubic")
    np.testing.assert_array_equal(result, np.full((224, 224, 3), 77))


def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Shapes of what libjpeg decodes from now on."""
    found: list[tuple[int, ...]] = []
    real = images.simplejpeg.decode_jpeg

    def spy(*arguments: Any, **options: Any) -> Pixels:
        found.append((pixels := real(*arguments, **options)).shape)
        return pixels

    monkeypatch.setattr(images.simplejpeg, "decode_jpeg", spy)
    return found


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("shape", [(1200, 1601), (903, 677), (600, 2000)])
def test_scaled_decoding_shows_the_same_crop(
    shape: tuple[int, int], orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = smooth(*shape)
    stripes = (np.arange(shape[1]) // 40 % 2 * 90).astype(np.uint8)
    rgb = rgb // 2 + stripes[None, :, None]
    data = saved(rgb, "JPEG", quality=95, exif=with_orientation(orientation))
    options: dict[str, Any] = {"size": (112, 112), "crop_pct": 0.875, "interpolation": "bicubic"}
    full, found = decode(data), decoded(monkeypatch)
    assert distance(decode_crop(data, **options), resize_crop(full, **options)) < 2.5
    assert math.prod(found[0]) < full.size / 3


@pytest.mark.parametrize("orientation", [1, 6])
def test_scaled_decoding_keeps_both_upright_sides_large_enough(
    orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = saved(smooth(800, 1600), "JPEG", exif=with_orientation(orientation))
    full, found = decode(data).shape, decoded(monkeypatch)
    for size in ((100, 100), (100, 700), (300, 100), (799, 100), (900, 900)):
        decode_crop(data, size=size, crop_pct=1.0, interpolation="bilinear")
        upright = found[-1][:2] if orientation == 1 else found[-1][1::-1]
        for axis in (0, 1):
            assert upright[axis] >= min(size[axis], full[axis])
    assert min(found[0][:2]) <= 200


def test_decode_crop_of_other_formats_is_decode_then_crop() -> None:
    data = saved(smooth(300, 200), "PNG")
    options: dict[str, Any] = {"size": (64, 64), "crop_pct": 0.9, "interpolation": "bilinear"}
    np.testing.assert_array_equal(
        decode_crop(data, **options), resize_crop(decode(data), **options)
    )
    with pytest.raises(PictureError):
        decode_crop(data[:200], **options)


# --- fingerprints ------------------------------------------------------------------------------


def test_digests() -> None:
    assert digest(b"").hex().startswith("e3b0c44298fc1c14")
    rgb = smooth(4, 6)
    assert len(array_digest(rgb)) == 32
    assert array_digest(rgb) == array_digest(np.asfortranarray(rgb))
    assert array_digest(rgb) != array_digest(rgb.reshape(6, 4, 3))
    assert array_digest(rgb) != array_digest(rgb[::-1])
    assert array_digest(rgb) != digest(rgb.tobytes())


def test_the_decoder_is_named_with_its_versions() -> None:
    assert images.simplejpeg.__version__ in images.DECODER
    assert images.PIL.__version__ in images.DECODER

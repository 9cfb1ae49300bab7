"""Network files of any framework, read and run by OpenVINO."""

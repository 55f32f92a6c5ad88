"""A trained filter at work: frame after frame on a video, in a camera, or as an ONNX graph on the edge."""

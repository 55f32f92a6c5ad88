"""Video in and out, and all that is known of PyAV: whole files (files), and frame after frame (sources, sinks)."""

from privadv.data.video.files import X264, BadVideo, Media, count_frames, decode, extent, write_h264

__all__ = ["X264", "BadVideo", "Media", "count_frames", "decode", "extent", "write_h264"]

"""Gives the virtual machine a camera of libcamera's, and picamera2 what it misses there. Run in it once, as root.

    python3 virtual_camera.py FOLDER-OF-JPEGS

libcamera's virtual camera is a pipeline like any other: it shows pictures as NV12 in buffers from a DMA heap. But it
has no sensor, and picamera2 is written for those of a Raspberry Pi. So five things are changed in the installed
picamera2, and nothing in fer-edge:

* it asks what raw formats the sensor has, which this camera answers with nothing: it is asked for a viewfinder's;
* its own allocator makes buffers of one plane, over which libcamera aborts (NV12 has two): libcamera's is used;
* it looks whether the camera says that it has filled a buffer, and maps as many bytes of it as were filled: libcamera
  0.4 leaves both unset for this camera, so the request's own state is asked, and all bytes are mapped;
* it gives a picture back to the camera only once it has noted that the camera runs, which is too late for one that
  delivers before it was asked twice: it notes that first;
* it imports pykms, for previews on a screen: an empty one is there.
"""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGES = Path("/usr/lib/python3/dist-packages")
CAMERA = """%YAML 1.1
---
"Virtual0":
  supported_formats:
  - width: 640
    height: 480
    frame_rates: [5, 30]
  - width: 320
    height: 240
    frame_rates: [5, 30]
  frames:
    path: "{folder}"
    scale_mode: "fill"
  location: "CameraLocationFront"
  model: "Virtual camera"
"""
RAW_MODES = "generate_configuration([{role}])\n        raw_formats = raw_config.at(0).formats\n        raw_modes"
CHANGES = {
    "picamera2/picamera2.py": {
        RAW_MODES.format(role="libcamera.StreamRole.Raw"): RAW_MODES.format(role="VIEWFINDER"),
        "self.camera.start(controls)\n": "self.camera.start(controls)\n        self.started = True\n",
        "self.allocator = DmaAllocator() if allocator is None": "from picamera2.allocators import LibcameraAllocator\n"
        "        self.allocator = LibcameraAllocator(self.camera) if allocator is None",
        "if next(iter(req.request.buffers.values())).metadata.status == libcamera.FrameMetadata.Status.Success:": (
            "if req.request.status == libcamera.Request.Status.Complete:"
        ),
    },
    "picamera2/allocators/allocator.py": {"buflen + p_metadata.bytes_used": "buflen + p.length"},
}


def main() -> None:
    """Write the camera's description, and change picamera2."""
    place = Path("/usr/share/libcamera/pipeline/virtual/virtual.yaml")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(CAMERA.format(folder=sys.argv[1]))
    (PACKAGES / "pykms.py").write_text("PixelFormat = type('PixelFormat', (), {'__getattr__': lambda *_: 0})()\n")
    for name, changes in CHANGES.items():
        change(PACKAGES / name, changes)
    # The heap that picamera2 knows by name; it is only opened.
    heap = Path("/dev/dma_heap/linux,cma")
    if not heap.exists():
        heap.symlink_to("system")


def change(module: Path, changes: dict[str, str]) -> None:
    """Replace pieces of a file, once each; what was replaced before stays."""
    text = module.read_text()
    for old, new in changes.items():
        if new in text:
            continue
        if text.count(old) != 1:
            sys.exit(f"{module}: is not the version that this is for: {old!r}")
        text = text.replace(old, new)
    module.write_text(text)


if __name__ == "__main__":
    main()

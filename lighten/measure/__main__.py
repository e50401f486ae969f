"""`python -m lighten.measure`: this machine, as measurements are keyed by it."""

from lighten.measure.probe import PEAKS_NOTE, probe

if __name__ == "__main__":
    device = probe(peaks=True)
    for name, value in device.as_dict().items():
        print(f"{name:14} {' '.join(map(str, value)) if isinstance(value, tuple) else value}")
    print(f"{'key':14} {device.key}\npeak_gflops and bandwidth_gbs are {PEAKS_NOTE}")

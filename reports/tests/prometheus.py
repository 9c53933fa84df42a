"""Sends runs to a real Prometheus by OTLP, and holds its answers against the report.

    prometheus.py PROMETHEUS LUO_TRACE RUN...

PROMETHEUS is a Prometheus 3.5 or newer with its OTLP receiver (Debian's package has none), LUO_TRACE the
program, each RUN a *.run.json. Prints what Prometheus and the report say; exits 0 if they agree.
"""

import json
import math
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

PORT = 19091
URL = f"http://127.0.0.1:{PORT}"
# Runs of the last days are taken, in any order.
CONFIG = """
storage:
  tsdb:
    out_of_order_time_window: 30d
"""


def ask(query):
    """The values of an instant query, by the name of the window or phase."""
    address = f"{URL}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(address) as answer:
        result = json.load(answer)["data"]["result"]
    key = lambda metric: metric.get("luo_trace_phase") or metric.get("luo_trace_window")
    return {key(item["metric"]): float(item["value"][1]) for item in result}


def wait_until_ready():
    for _ in range(100):
        try:
            return urllib.request.urlopen(f"{URL}/-/ready").read()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise SystemExit("Prometheus does not get ready")


def compare(kind, expected):
    """One kind of lengths: how far Prometheus' figures are from the report's."""
    by = f"luo_trace_{kind}"
    # Each sample is one update: deltas are stored as they come.
    whole = f"sum by ({by}) (sum_over_time(luo_trace_{kind}_duration_seconds[30d]))"
    counts, sums, medians = (
        ask(q) for q in (f"histogram_count({whole})", f"histogram_sum({whole})", f"histogram_quantile(0.5, {whole})")
    )
    assert counts.keys() == {item["name"] for item in expected}, (counts, expected)
    worst = 0.0
    for item in expected:
        name, values = item["name"], item["values_ns"]
        assert counts[name] == item["n"] == len(values), (name, counts[name], item["n"])
        assert math.isclose(sums[name], sum(values) / 1e9, rel_tol=1e-9), (name, sums[name], sum(values))
        # The middle one of an odd number lies in one bucket, which is 0.27 % wide.
        off = medians[name] / (item["median_ns"] / 1e9) - 1
        assert abs(off) < 2 ** (1 / 256) - 1, (name, medians[name], item["median_ns"])
        worst = max(worst, abs(off))
        print(f"{name:14} n {counts[name]:.0f}  sum {sums[name]:.9f} s  median {medians[name]:.6f} s, report {item['median_ns'] / 1e9:.6f} s ({off:+.3%})")
    return worst


def main(prometheus, luo_trace, *runs):
    assert len(runs) % 2 == 1, "the median of an even number lies between two buckets: name an odd number of runs"
    report = subprocess.run([luo_trace, "report", "--format", "json", *runs], check=True, capture_output=True)
    (setup,) = json.loads(report.stdout)["setups"]
    single = []
    for path in runs:
        with open(path, encoding="utf-8") as file:
            single.append(json.load(file))
    for item in setup["windows"] + setup["phases"]:
        of = [w["duration_ns"] for run in single for w in run["windows"] if w["name"] == item["name"]]
        item["values_ns"] = of or [p["duration_ns"] for run in single for p in run["phases"] if p["id"] == item["name"]]
    with tempfile.TemporaryDirectory() as place:
        with open(f"{place}/prometheus.yml", "w", encoding="utf-8") as file:
            file.write(CONFIG)
        arguments = [
            prometheus,
            f"--config.file={place}/prometheus.yml",
            f"--storage.tsdb.path={place}/data",
            f"--web.listen-address=127.0.0.1:{PORT}",
            "--web.enable-otlp-receiver",
            "--enable-feature=native-histograms,otlp-native-delta-ingestion",
            "--log.level=warn",
        ]
        server = subprocess.Popen(arguments, cwd=place)
        try:
            wait_until_ready()
            send = [luo_trace, "export", *runs, "--only", "metrics", "--otlp-endpoint", f"{URL}/api/v1/otlp"]
            subprocess.run(send, check=True)
            worst = max(compare("window", setup["windows"]), compare("phase", setup["phases"]))
            print(f"agrees; the medians differ by at most {worst:.3%}, and a bucket is 0.27 % wide")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

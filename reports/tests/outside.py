"""Opens what reports wrote with software that is not ours, and computes anew.

    outside.py CHECK DIRECTORY FILE

DIRECTORY has the runs, FILE what was made of them. Prints nothing and exits 0
when all is as it should be.
"""

import csv
import glob
import json
import math
import sys


def load(directory):
    runs = []
    for path in sorted(glob.glob(f"{directory}/*.run.json")):
        with open(path, encoding="utf-8") as file:
            runs.append(json.load(file))
    assert runs
    return runs


def lengths(runs):
    """Lengths by name, windows and phases."""
    by_name = {}
    for run in runs:
        for item in run["windows"]:
            by_name.setdefault(item["name"], []).append(item["duration_ns"])
        for item in run["phases"]:
            by_name.setdefault(item["id"], []).append(item["duration_ns"])
    return by_name


def functions(run):
    """The calls of a run by place, kernel and function: lengths, nothing for one without an end."""
    by_function = {}
    phases = run["phases"]
    for span in run["spans"]:
        t = span["start_t"]
        inside = [p["id"] for p in phases if p["start_t"] <= t < p["start_t"] + p["duration_ns"]]
        before = t < phases[0]["start_t"] if phases else span["kernel"] == "old"
        place = inside[0] if inside else "before" if before else "after"
        by_function.setdefault((place, span["kernel"], span["name"]), []).append(span["duration_ns"])
    return by_function


def close(a, b, share):
    assert math.isclose(a, b, rel_tol=share), (a, b)


def check_perfetto(runs, path):
    """Perfetto's own definition of its protobuf reads every packet."""
    from google.protobuf.unknown_fields import UnknownFieldSet
    from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto

    trace = proto.Trace()
    with open(path, "rb") as file:
        trace.ParseFromString(file.read())
    tracks, open_slices, slices = {}, {}, []
    begins, ends = {}, {}
    # Everything is moved by whole seconds, so that nothing is negative.
    starts = [x["start_t"] for run in runs for x in run["spans"] + run["phases"]]
    starts += [mark["t"] for run in runs for mark in run.get("marks", [])]
    zero = -(min(starts + [0]) // 10**9) * 10**9
    for packet in trace.packet:
        assert packet.trusted_packet_sequence_id == 1
        for message in (packet, packet.track_event, packet.track_descriptor):
            assert len(UnknownFieldSet(message)) == 0, "a field that Perfetto does not know"
        if packet.HasField("track_descriptor"):
            descriptor = packet.track_descriptor
            assert descriptor.uuid not in tracks
            tracks[descriptor.uuid] = (descriptor.name, descriptor.parent_uuid)
        if not packet.HasField("track_event"):
            continue
        event, time = packet.track_event, packet.timestamp - zero
        stack = open_slices.setdefault(event.track_uuid, [])
        if event.type == event.TYPE_SLICE_BEGIN:
            args = {}
            for arg in event.debug_annotations:
                args[arg.name] = arg.string_value if arg.HasField("string_value") else arg.int_value
            assert not stack or stack[-1][1] <= time
            stack.append((event.name, time, args, event.track_uuid))
            for flow in event.flow_ids:
                begins.setdefault(flow, []).append((event.name, args))
            for flow in event.terminating_flow_ids:
                ends.setdefault(flow, []).append((event.name, args))
        elif event.type == event.TYPE_SLICE_END:
            name, start, args, uuid = stack.pop()
            assert time >= start, name
            slices.append((name, start, time - start, args, uuid))
    assert not any(open_slices.values()), "a slice was not ended"

    def place(uuid):
        names = []
        while uuid:
            name, uuid = tracks[uuid]
            names.append(name)
        return names

    for run in runs:
        root = f"run {run['id']}"
        mine = [s for s in slices if place(s[4])[-1] == root]
        calls = sorted((s[0], s[1], s[2]) for s in mine if "cpu" in s[3] and s[3].get("returned") != "no")
        expected = sorted((s["name"], s["start_t"], s["duration_ns"]) for s in run["spans"] if s["duration_ns"] is not None)
        assert calls == expected
        phases = sorted((s[0], s[1], s[2]) for s in mine if "source" in s[3])
        assert phases == sorted((p["id"], p["start_t"], p["duration_ns"]) for p in run["phases"])
        gap = [s for s in mine if place(s[4])[0] == "gap"]
        assert [s[3]["source"] for s in gap] == ["derived"]
        for side in ("old", "new"):
            there = [s for s in mine if f"{side} kernel" in place(s[4]) and "cpu" in s[3]]
            assert len(there) == sum(s["kernel"] == side for s in run["spans"])
    pairs = 0
    for run in runs:
        tokens = {"old": set(), "new": set()}
        for span in run["spans"]:
            args = span.get("args", {})
            if "session" in args and "token" in args:
                tokens[span["kernel"]].add((args["session"], args["token"]))
        pairs += len(tokens["old"] & tokens["new"])
    assert len(begins) == len(ends) == pairs > 0
    for flow, ((_, old),) in begins.items():
        ((_, new),) = ends[flow]
        assert (old["session"], old["token"]) == (new["session"], new["token"])


def check_hlog(runs, path):
    """The Python port of HdrHistogram reads the log and finds the same values."""
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    expected = lengths(runs)
    reader = HistogramLogReader(path, HdrHistogram(1, 3_600_000_000_000, 3))
    seen = {}
    while True:
        histogram = reader.get_next_interval_histogram()
        if histogram is None:
            break
        seen[histogram.get_tag()] = histogram
    assert seen.keys() == expected.keys(), (seen.keys(), expected.keys())
    for name, values in expected.items():
        histogram, values = seen[name], sorted(values)
        assert histogram.get_total_count() == len(values)
        close(histogram.get_max_value(), values[-1], 0.001)
        for percent in (10, 50, 90):
            # The port rounds the rank to the nearest, ours and the original up.
            value = values[int(percent / 100 * len(values) + 0.5) - 1]
            close(histogram.get_value_at_percentile(percent), value, 0.001)


def check_csv(runs, path):
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = []
    for run in runs:
        for kind, items in (("window", run["windows"]), ("phase", run["phases"])):
            for item in items:
                start = item["start"] if kind == "window" else item["start_t"]
                name = item["name"] if kind == "window" else item["id"]
                expected.append((run["id"], kind, name, start, item["duration_ns"], item["error_ns"]))
    columns = ("start_ns", "duration_ns", "error_ns")
    seen = [(r["run"], r["kind"], r["name"], *(int(r[c]) for c in columns)) for r in rows]
    assert seen == expected
    assert {r["cpu_model"] for r in rows} == {run["host"]["cpu_model"] for run in runs}


def check_prometheus(runs, path):
    from prometheus_client.parser import text_string_to_metric_families

    with open(path, encoding="utf-8") as file:
        families = {family.name: family for family in text_string_to_metric_families(file.read())}
    expected = lengths(runs)
    for kind in ("window", "phase"):
        family = families[f"luo_trace_{kind}_seconds"]
        assert family.type == "summary" and family.documentation
        for sample in family.samples:
            values = sorted(expected[sample.labels[kind]])
            if sample.name.endswith("_count"):
                assert sample.value == len(values)
            elif sample.name.endswith("_sum"):
                close(sample.value, sum(values) / 1e9, 1e-9)
            elif sample.labels["quantile"] == "0.5":
                middle = (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2
                close(sample.value, middle / 1e9, 1e-6)
        largest = families[f"luo_trace_{kind}_seconds_max"]
        assert {s.labels[kind]: s.value for s in largest.samples} == {
            s.labels[kind]: max(expected[s.labels[kind]]) / 1e9 for s in largest.samples
        }
    assert {s.labels["window"] for s in families["luo_trace_window_seconds"].samples} == {"kernel", "restore"}


def attributes(items):
    """Names and values; a name is there once."""
    found = {}
    for item in items:
        kind = item.value.WhichOneof("value")
        value = getattr(item.value, kind)
        assert item.key not in found, item.key
        found[item.key] = [v.string_value for v in value.values] if kind == "array_value" else value
    return found


def last_stamp(run):
    """The first and the last time in a run, ns since the kexec began."""
    phases = run["phases"] + [p for g in run.get("guests", []) for p in g.get("phases", [])]
    times = [0]
    for item in run["spans"] + phases:
        times += [item["start_t"], item["start_t"] + (item["duration_ns"] or 0)]
    for window in run["windows"]:
        times += [window["start"], window["end"]]
    times += [item["t"] for item in run.get("marks", []) + run.get("stages", [])]
    return min(times), max(times)


def wall(run):
    """When the kexec began, ns since 1970."""
    import datetime

    captured = datetime.datetime.fromisoformat(run["captured_at"].replace("Z", "+00:00"))
    return int(captured.timestamp()) * 10**9 - last_stamp(run)[1]


def check_spans(run, spans):
    """The tree of spans is the run: who is in whom, when, and for how long."""
    zero = wall(run)
    by_id = {span.span_id: (side, span) for side, span in spans}
    assert len(by_id) == len(spans), "an id twice"
    assert all(len(i) == 8 and any(i) for i in by_id)
    (root,) = [span for _, span in spans if not span.parent_span_id]
    assert root.name == "live update"
    at = lambda span: (span.start_time_unix_nano - zero, span.end_time_unix_nano - zero)
    assert at(root) == last_stamp(run)
    seen = {"window": [], "phase": [], "call": []}
    tree = {}
    for side, span in spans:
        facts = attributes(span.attributes)
        start, end = at(span)
        for link in span.links:
            assert link.trace_id == span.trace_id and link.span_id in by_id
        if span is root:
            continue
        parent_side, parent = by_id[span.parent_span_id]
        if "code.function.name" in facts:
            inner = "code.function.name" in attributes(parent.attributes)
            assert not inner or side == parent_side
            seen["call"].append((side, span.name, start, None if facts.get("luo_trace.call.returned") is False else end - start))
            tree.setdefault((side, span.name, start), []).append((parent.name, at(parent)[0]))
        elif "luo_trace.window" in facts:
            assert parent is root
            seen["window"].append((span.name, start, end))
        else:
            seen["phase"].append((facts["luo_trace.phase"], facts.get("luo_trace.workload"), start, end, facts["luo_trace.error_ns"]))
    windows = [(" ".join(filter(None, (w["name"], w.get("workload")))), w["start"], w["end"]) for w in run["windows"]]
    assert sorted(seen["window"]) == sorted(windows)
    phases = [(p, None) for p in run["phases"]]
    phases += [(p, g["name"]) for g in run.get("guests", []) for p in g.get("phases", [])]
    phases = [(p["id"], of, p["start_t"], p["start_t"] + p["duration_ns"], p["error_ns"]) for p, of in phases]
    key = lambda item: tuple(map(str, item))
    assert sorted(seen["phase"], key=key) == sorted(phases, key=key)
    calls = [(s["kernel"], s["name"], s["start_t"], s["duration_ns"]) for s in run["spans"]]
    assert sorted(seen["call"], key=key) == sorted(calls, key=key)
    for span in run["spans"]:
        if span["parent"] is not None:
            outer = run["spans"][span["parent"]]
            expected = (outer["name"], outer["start_t"])
        else:
            t = span["start_t"]
            inside = [p for p in run["phases"] if p["start_t"] <= t < p["start_t"] + p["duration_ns"]]
            expected = (inside[0]["id"], inside[0]["start_t"]) if inside else ("live update", at(root)[0])
        assert expected in tree[span["kernel"], span["name"], span["start_t"]], span
    new = {span.span_id for side, span in spans if side == "new"}
    crossing = [l for side, span in spans if side == "new" for l in span.links if l.span_id not in new]
    handed = {"old": set(), "new": set()}
    for span in run["spans"]:
        args = span.get("args", {})
        if "session" in args and "token" in args:
            handed[span["kernel"]].add((args["session"], args["token"]))
    assert len(crossing) == len(handed["old"] & handed["new"]) + 1


def check_otlp(runs, path):
    """OpenTelemetry's own Python types read the traces, and their tree is that of the run."""
    from google.protobuf.unknown_fields import UnknownFieldSet
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    data = TracesData()
    with open(path, "rb") as file:
        data.ParseFromString(file.read())
    traces = {}
    for part in data.resource_spans:
        resource = attributes(part.resource.attributes)
        assert resource["service.name"] == "luo-trace" and resource["os.type"] == "linux"
        for scope in part.scope_spans:
            for span in scope.spans:
                for message in (part, part.resource, scope, span):
                    assert len(UnknownFieldSet(message)) == 0
                assert len(span.trace_id) == 16
                traces.setdefault(span.trace_id, []).append((resource, span))
    assert len(traces) == len(runs)
    for run in runs:
        named = lambda spans: any(attributes(s.attributes).get("luo_trace.run.id") == run["id"] for _, s in spans)
        (spans,) = [spans for spans in traces.values() if named(spans)]
        for resource, _ in spans:
            side = resource["luo_trace.kernel.side"]
            assert resource["os.version"] == run[f"{side}_kernel"]["release"]
            assert resource["luo_trace.kernel.boot_id"] == run[f"{side}_kernel"]["boot_id"]
        check_spans(run, [(resource["luo_trace.kernel.side"], span) for resource, span in spans])


def check_metrics_data(runs, data):
    seen, updates = {}, 0
    for part in data.resource_metrics:
        for metric in part.scope_metrics[0].metrics:
            if metric.name == "luo_trace.updates":
                assert metric.sum.is_monotonic and metric.sum.aggregation_temporality == 1
                updates += sum(point.as_int for point in metric.sum.data_points)
                continue
            assert metric.unit == "s" and metric.exponential_histogram.aggregation_temporality == 1
            for point in metric.exponential_histogram.data_points:
                facts = attributes(point.attributes)
                name = facts.get("luo_trace.phase") or facts["luo_trace.window"]
                assert point.count == 1 and point.min == point.max == point.sum
                assert point.start_time_unix_nano < point.time_unix_nano
                if point.sum:
                    base = 2 ** (2**-point.scale)
                    low = base**point.positive.offset
                    assert low * (1 - 1e-9) < point.sum <= low * base * (1 + 1e-9)
                    assert list(point.positive.bucket_counts) == [1]
                else:
                    assert point.zero_count == 1
                seen.setdefault(name, []).append(round(point.sum * 1e9))
    assert updates == len(runs)
    expected = lengths(runs)
    assert seen.keys() == expected.keys()
    for name, values in expected.items():
        assert sorted(seen[name]) == sorted(values), name


def check_otlp_metrics(runs, path):
    """The same of the histograms: each length lies in its bucket."""
    from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

    data = MetricsData()
    with open(path, "rb") as file:
        data.ParseFromString(file.read())
    check_metrics_data(runs, data)


def check_otlp_json(runs, path):
    """Protobuf's own reader of JSON takes both lines; ids are hexadecimal, as OTLP alone has it."""
    import base64

    from google.protobuf import json_format
    from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    def ids(value):
        if isinstance(value, list):
            return [ids(v) for v in value]
        if not isinstance(value, dict):
            return value
        hexadecimal = lambda k, v: base64.b64encode(bytes.fromhex(v)).decode() if k in ("traceId", "spanId", "parentSpanId") else ids(v)
        return {k: hexadecimal(k, v) for k, v in value.items()}

    with open(path, encoding="utf-8") as file:
        traces, metrics = (json.loads(line) for line in file)
    traces = json_format.ParseDict(ids(traces), TracesData())
    sides = {}
    for part in traces.resource_spans:
        for span in part.scope_spans[0].spans:
            side = attributes(part.resource.attributes)["luo_trace.kernel.side"]
            sides.setdefault(span.trace_id, []).append((side, span))
    for run in runs:
        named = lambda spans: any(attributes(s.attributes).get("luo_trace.run.id") == run["id"] for _, s in spans)
        (spans,) = [spans for spans in sides.values() if named(spans)]
        check_spans(run, spans)
    check_metrics_data(runs, json_format.ParseDict(metrics, MetricsData()))


_RESAMPLES = {}


def resamples(n):
    """Which of n values each of many resamples takes."""
    import numpy

    if n not in _RESAMPLES:
        _RESAMPLES[n] = numpy.random.default_rng(1).integers(0, n, size=(40_000, n))
    return _RESAMPLES[n]


def check_interval(quantity, places, values):
    """The ends of the interval are the percentiles of the medians of resamples."""
    import numpy

    medians = numpy.median(values[places], axis=1)
    for end, share in (("ci_low_ns", 0.025), ("ci_high_ns", 0.975)):
        below = numpy.mean(medians < quantity[end] - 1)
        up_to = numpy.mean(medians <= quantity[end] + 1)
        assert below - 0.006 <= share <= up_to + 0.006, (quantity["name"], end, below, up_to)


def check_functions(runs, seen):
    """Every function in every phase, with its times, shares and single calls."""
    import numpy

    expected = {}
    for run in runs:
        phases = {phase["id"]: phase["duration_ns"] for phase in run["phases"]}
        (window,) = [w["duration_ns"] for w in run["windows"] if w["name"] == "restore"]
        for key, calls in functions(run).items():
            of = expected.setdefault(key, {"times": [], "calls": [], "single": [], "phase": [], "window": []})
            of["single"] += [ns for ns in calls if ns is not None]
            if None in calls:
                continue
            of["times"].append(sum(calls))
            of["calls"].append(len(calls))
            if phases.get(key[0]):
                of["phase"].append(sum(calls) / phases[key[0]])
                of["window"].append(sum(calls) / window)
    expected = {key: of for key, of in expected.items() if of["times"]}
    assert {(f["phase"], f["kernel"], f["name"]) for f in seen} == expected.keys()
    assert len(seen) == len(expected)
    costs = [function["median_ns"] * function["n"] for function in seen]
    assert costs == sorted(costs, reverse=True)
    for place, function in enumerate(seen):
        of = expected[function["phase"], function["kernel"], function["name"]]
        times, single = numpy.array(of["times"]), numpy.array(of["single"])
        assert function["n"] == len(times)
        assert function["calls"] == sorted(of["calls"])[len(times) // 2]
        assert function["median_ns"] == math.floor(numpy.median(times))
        assert (function["min_ns"], function["max_ns"]) == (times.min(), times.max())
        # Resampling them all would take minutes.
        if place % 8 == 0:
            check_interval(function, resamples(len(times)), times)
        for share, shares in (("share_of_phase", of["phase"]), ("share", of["window"])):
            if shares:
                close(function[share], numpy.median(shares), 1e-9)
            else:
                assert function[share] is None
        assert (function["single_calls"], function["single_max_ns"]) == (len(single), single.max())
        supported = [p for p in (50, 90) if 1 - (p / 100) ** len(single) >= 0.95]
        assert [p["percent"] for p in function["single_percentiles"]] == supported
        for percentile in function["single_percentiles"]:
            value = numpy.percentile(single, percentile["percent"], method="inverted_cdf")
            close(percentile["value_ns"], value, 0.001)


def check_statistics(runs, path):
    """numpy and scipy agree with every figure of the report."""
    import numpy
    from scipy import stats

    with open(path, encoding="utf-8") as file:
        (setup,) = json.load(file)["setups"]
    expected = lengths(runs)
    wholes = numpy.array(expected["restore"], dtype=float)
    quantities = setup["windows"] + setup["phases"]
    assert {q["name"] for q in quantities} == expected.keys()
    for quantity in quantities:
        values = numpy.array(expected[quantity["name"]])
        assert quantity["n"] == len(values)
        assert quantity["median_ns"] == math.floor(numpy.median(values))
        assert (quantity["min_ns"], quantity["max_ns"]) == (values.min(), values.max())
        supported = [p for p in (90, 95, 99) if 1 - (p / 100) ** len(values) >= 0.95]
        assert [p["percent"] for p in quantity["percentiles"]] == supported
        for percentile in quantity["percentiles"]:
            close(percentile["value_ns"], numpy.percentile(values, percentile["percent"], method="inverted_cdf"), 0.001)
        check_interval(quantity, resamples(len(values)), values)
    check_functions(runs, setup["functions"])
    for phase in setup["phases"]:
        parts = numpy.array(expected[phase["name"]], dtype=float)
        if numpy.ptp(parts) == 0:
            # It is as long in every run, so that nothing goes with it.
            assert (phase["rank_correlation"], phase["spread_share"]) == (None, None)
        else:
            close(phase["rank_correlation"], stats.spearmanr(parts, wholes).statistic, 1e-9)
            close(phase["spread_share"], numpy.cov(parts, wholes)[0, 1] / numpy.var(wholes, ddof=1), 1e-9)
        close(phase["share"], numpy.median(parts / wholes), 1e-9)


if __name__ == "__main__":
    _, check, directory, path = sys.argv
    globals()["check_" + check.replace("-", "_")](load(directory), path)

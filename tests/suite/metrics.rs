//! What monitoring reads: the exposition is what the reference parser takes, the shipped alerts and dashboard name only what
//! there is, and a scrape costs the workers nothing.

use crate::harness::{Client, Origin, Ringway};
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Everything that begins as our metrics do.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("ringway_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

/// The metrics that a node has, under all names that its samples have.
fn known(metrics: &str) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    for line in metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a name and a kind");
        known.insert(name.to_owned());
        if kind == "histogram" {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        }
    }
    known
}

fn python() -> PathBuf {
    let python = root().join("target/metrics-venv/bin/python");
    assert!(python.exists(), "{} is missing; tests/run makes it", python.display());
    python
}

/// Parses standard input with the reference parser, and prints how many samples each family has.
const PARSE: &str = r#"
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
text = sys.stdin.read()
seen = set()
samples = 0
for family in parse(text):
    assert family.name not in seen, family.name
    seen.add(family.name)
    for sample in family.samples:
        samples += 1
        if sample.labels.get("route", "").startswith("quoted"):
            print("route", sample.labels["route"])
print("families", len(seen), "samples", samples)
"#;

fn parsed(text: &str) -> String {
    let mut child = Command::new(python())
        .args(["-c", PARSE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python runs");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn open_metrics(ringway: &Ringway) -> String {
    let mut client = Client::connect(ringway.admin_address());
    client.send(
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Accept: application/openmetrics-text; version=1.0.0\r\n\r\n",
    );
    let response = client.response("GET");
    assert_eq!(response.status, 200);
    response.text()
}

/// Clock ticks of user and system time of all threads whose names begin like this.
fn ticks(ringway: &Ringway, name: &str) -> u64 {
    let threads = std::fs::read_dir(format!("/proc/{}/task", ringway.id())).expect("it runs");
    let stat = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("stat")).ok();
    let of = |stat: String| {
        let (head, rest) = stat.rsplit_once(") ")?;
        let mut fields = rest.split(' ').skip(11);
        let spent = fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?;
        head.split_once('(')?.1.starts_with(name).then_some(spent)
    };
    threads.flatten().filter_map(stat).filter_map(of).sum()
}

both! {
    fn the_reference_parser_reads_the_exposition(io) {
        let origin = Origin::ok("x");
        let text = format!(
            "listener \"web\" {{ bind \"127.0.0.1:0\"; }}\n\
             upstream \"origin\" {{ endpoint \"{}\"; limits {{ requests 5; queue 2; }}; }}\n\
             site \"*\" {{ route \"/\" upstream=\"origin\"; route \"/a\\\"b\\\\c\" {{ respond 200; }}; }}\n",
            origin.address()
        );
        let ringway = Ringway::start(&text, io);
        assert_eq!(ringway.client().get("/").status, 200);
        let exposition = open_metrics(&ringway);
        assert!(exposition.ends_with("# EOF\n"), "{exposition}");
        let told = parsed(&exposition);
        assert!(told.contains("families ") && !told.contains("families 0"), "{told}");
        ringway.stop_after(origin);
    }

    fn alerts_and_dashboard_name_only_what_there_is(io) {
        let origin = Origin::ok("x");
        let ringway = Ringway::start(
            &format!(
                "listener \"web\" {{ bind \"127.0.0.1:0\"; }}\nupstream \"origin\" {{ endpoint \"{}\"; }}\n\
                 site \"*\" {{ route \"/\" upstream=\"origin\"; }}\n",
                origin.address()
            ),
            io,
        );
        let known = known(&ringway.admin("/metrics").text());
        for file in ["configs/prometheus/alerts.yml", "configs/grafana/ringway.json"] {
            let text = std::fs::read_to_string(root().join(file)).expect(file);
            let named = names(&text);
            assert!(named.len() > 15, "{file} names hardly anything: {named:?}");
            let unknown: Vec<_> = named.difference(&known).collect();
            assert!(unknown.is_empty(), "{file} names what there is not: {unknown:?}");
        }
        let dashboard = std::fs::read_to_string(root().join("configs/grafana/ringway.json")).expect("it is there");
        let dashboard: serde_json::Value = serde_json::from_str(&dashboard).expect("it is JSON");
        assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 10));
        ringway.stop_after(origin);
    }

    fn r165_a_scrape_of_5000_endpoints_costs_the_workers_nothing(io) {
        let endpoints: String = (0..5000u32)
            .map(|n| format!("endpoint \"127.{}.{}.{}:9\"; ", 1 + n / 2500, n / 50 % 50, 1 + n % 50))
            .collect();
        let ringway = Ringway::start(
            &format!(
                "listener \"web\" {{ bind \"127.0.0.1:0\"; }}\nupstream \"origin\" {{ {endpoints} }}\n\
                 site \"*\" {{ route \"/\" upstream=\"origin\"; }}\n"
            ),
            io,
        );
        let before = [ticks(&ringway, "worker"), ticks(&ringway, "control")];
        for _ in 0..5 {
            let text = ringway.admin("/metrics").text();
            assert!(text.matches("ringway_endpoint_up{").count() == 5000);
        }
        let after = [ticks(&ringway, "worker"), ticks(&ringway, "control")];
        let [workers, control] = [after[0] - before[0], after[1] - before[1]];
        assert!(control > 0, "the control plane has worked");
        // What workers do by themselves meanwhile, in ticks of 10 ms.
        assert!(workers <= 3 + control / 10, "workers {workers}, control plane {control} ticks");
        ringway.stop();
    }
}

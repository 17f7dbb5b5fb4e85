//! Compares Ringway with nginx, HAProxy, Envoy, Traefik and Caddy: the same job, one worker pinned to core 0, the load generator
//! (wrk) and the origin (nginx) pinned to core 1, interleaved rounds in shuffled order.
//!
//! It is started by `perf/run`, which installs the tools and builds the release binary. What matters in the
//! table is CPU time per request: requests per second and latency depend on what else the machine does
//! (column "foreign cores"), and wrk and the origin share the other core and are often the limit.

#![forbid(unsafe_code)]

mod args;
mod contender;
mod failure;
mod h2load;
mod idle;
mod machine;
mod passthrough;
mod peers;
mod process;
mod report;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use args::Args;
use contender::{Running, start_origin};
use failure::{Failure, at};
use idle::IdleCost;
use process::Process;
use report::{Row, Table};
use workload::{REPORT_SCRIPT, Workload, Wrk};

const PROXY_CORE: usize = 0;
const LOAD_CORE: usize = 1;
const WARM_UP: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let outcome = Args::parse(std::env::args().skip(1)).and_then(|args| compare(&args));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("perf: {failure}");
            ExitCode::from(2)
        }
    }
}

fn compare(args: &Args) -> Result<(), Failure> {
    let scratch = Scratch::create()?;
    let script = scratch.path.join("report.lua");
    fs::write(&script, REPORT_SCRIPT).map_err(at(&script))?;
    let ringway = std::path::absolute(&args.ringway).map_err(at(&args.ringway))?;
    let (origin, origin_port) = start_origin(LOAD_CORE, &scratch.path)?;
    let stage = Stage { args, dir: &scratch.path, script: &script, ringway: &ringway, origin, origin_port };

    let mut markdown = String::new();
    let mut results = Vec::new();
    let mut configurations = Configurations::default();
    for &workload in &args.workloads {
        let running = stage.start_contenders(workload)?;
        configurations.note(workload, &running);
        let (text, value) = if workload.is_idle() {
            let costs = stage.weigh_idle(workload, &running)?;
            (
                report::idle_markdown(workload, &costs),
                json!({ "workload": workload.name(), "contenders": report::idle_json(&costs) }),
            )
        } else {
            let table = stage.measure(workload, &running)?;
            (table.markdown(), table.json())
        };
        println!("{text}");
        markdown = markdown + &text + "\n";
        results.push(value);
    }
    if args.save {
        save(args, &markdown, results, configurations)?;
    }
    Ok(())
}

/// What all workloads of one comparison share.
struct Stage<'a> {
    args: &'a Args,
    dir: &'a Path,
    script: &'a Path,
    ringway: &'a Path,
    origin: Process,
    origin_port: u16,
}

impl Stage<'_> {
    fn start_contenders(&self, workload: Workload) -> Result<Vec<Running>, Failure> {
        let chosen = self.args.contenders.iter().copied().filter(|contender| contender.takes_part(workload));
        chosen
            .map(|contender| {
                Running::start(contender, workload, self.origin_port, PROXY_CORE, self.ringway, self.dir)
            })
            .collect()
    }

    /// Rounds in which every contender is warmed up and measured once, in an order drawn anew each time: what
    /// disturbs the machine for a minute then disturbs all of them.
    fn measure(&self, workload: Workload, running: &[Running]) -> Result<Table, Failure> {
        let wrk = Wrk { core: LOAD_CORE, script: self.script };
        let length = Duration::from_secs(self.args.seconds);
        let mut rows: Vec<Row> =
            running.iter().map(|r| Row { name: r.contender.name(), samples: Vec::new() }).collect();
        let mut order: Vec<usize> = (0..running.len()).collect();
        let mut dice = Dice::seeded();
        for round in 1..=self.args.rounds {
            dice.shuffle(&mut order);
            for &index in &order {
                let (Some(contender), Some(row)) = (running.get(index), rows.get_mut(index)) else {
                    continue;
                };
                wrk.load(workload, contender.port_for(workload), WARM_UP)?;
                let sample = wrk.measure(
                    workload,
                    contender.port_for(workload),
                    length,
                    &contender.process,
                    &self.origin,
                )?;
                eprintln!(
                    "{} {round}/{} {}: {:.2} us/request, {:.0}/s, foreign {:.2}, errors {}",
                    workload.name(),
                    self.args.rounds,
                    row.name,
                    sample.cpu_us,
                    sample.rate,
                    sample.foreign,
                    sample.errors
                );
                row.samples.push(sample);
            }
        }
        Ok(Table { workload, rows })
    }

    fn weigh_idle(&self, workload: Workload, running: &[Running]) -> Result<Vec<IdleCost>, Failure> {
        let usual = if workload.is_tcp() { 5000 } else { 2000 };
        let connections = self.args.idle_connections.unwrap_or(usual);
        running
            .iter()
            .map(|contender| {
                // The first requests make a proxy allocate what it keeps for good; that is not per connection.
                idle::weigh(contender, 20)?;
                idle::weigh(contender, connections)
            })
            .collect()
    }
}

/// The configuration files that were used and what the origin saw of a request through each.
#[derive(Default)]
struct Configurations {
    entries: Vec<(Workload, &'static str, String, String)>,
}

impl Configurations {
    fn note(&mut self, workload: Workload, running: &[Running]) {
        for r in running {
            let entry =
                (workload, r.contender.name(), r.configuration.clone(), r.seen_by_origin.trim().to_string());
            self.entries.push(entry);
        }
    }

    fn markdown(&self) -> String {
        let entries = self.entries.iter().map(|(workload, name, text, seen)| {
            let title = format!("{name}, {}", workload.name());
            format!(
                "<details><summary>{title}</summary>\n\nThe origin saw: `{seen}`\n\n```\n{text}```\n\n</details>\n"
            )
        });
        entries.collect()
    }

    fn json(&self) -> Value {
        let entry = |(workload, name, text, seen): &(Workload, &str, String, String)| json!({ "workload": workload.name(), "contender": name, "configuration": text, "origin_saw": seen });
        self.entries.iter().map(entry).collect()
    }
}

fn save(args: &Args, tables: &str, results: Vec<Value>, used: Configurations) -> Result<(), Failure> {
    let machine = machine::describe();
    let mut facts = String::new();
    for (key, value) in machine.as_object().into_iter().flatten() {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        facts += &format!("- {key}: {value}\n");
    }
    let markdown = format!(
        "# Comparison {} {}\n\n{facts}- rounds: {} of {} s after {} s of warm-up, interleaved, shuffled\n\
         - proxies on core {PROXY_CORE} (one worker), wrk (1 thread) and the origin on core {LOAD_CORE}\n\
         - CPU time: user + system time of all processes of the proxy / requests that wrk counted; on loopback \
         it holds the receiving side's TCP work for everybody alike, which compresses the ratios\n\n{tables}\
         ## Configurations\n\n{}",
        machine::date(),
        args.name,
        args.rounds,
        args.seconds,
        WARM_UP.as_secs(),
        used.markdown()
    );
    let value = json!({ "machine": machine, "rounds": args.rounds, "seconds": args.seconds,
                        "results": results, "configurations": used.json() });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    fs::create_dir_all(&folder).map_err(at(&folder))?;
    for (ending, text) in [("md", markdown), ("json", format!("{value:#}\n"))] {
        let file = folder.join(format!("{}-{}.{ending}", machine::date(), args.name));
        fs::write(&file, text).map_err(at(&file))?;
        eprintln!("written: {}", file.display());
    }
    Ok(())
}

/// A folder of our own, removed at the end.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn create() -> Result<Scratch, Failure> {
        let path = std::env::temp_dir().join(format!("ringway-perf-{}", std::process::id()));
        fs::create_dir_all(&path).map_err(at(&path))?;
        // Workers of a proxy that is started as root drop their rights and still have to read from here.
        Ok(Scratch { path })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// xorshift64, good enough to shuffle with.
struct Dice(u64);

impl Dice {
    fn seeded() -> Dice {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Dice(now.as_secs() | 1)
    }

    fn shuffle(&mut self, order: &mut [usize]) {
        for last in (1..order.len()).rev() {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            #[expect(clippy::cast_possible_truncation, reason = "less than the length of a slice")]
            let other = (self.0 % (last as u64 + 1)) as usize;
            order.swap(last, other);
        }
    }
}

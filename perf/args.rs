//! The command line of `perf/run`.

use std::path::PathBuf;

use crate::contender::Contender;
use crate::failure::Failure;
use crate::workload::Workload;

/// What to run.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) workloads: Vec<Workload>,
    pub(crate) contenders: Vec<Contender>,
    /// Measured runs per contender and workload.
    pub(crate) rounds: u32,
    /// Length of one measured run, seconds; each is preceded by one of warm-up.
    pub(crate) seconds: u64,
    /// Connections that wait in the workloads of idle connections; `None` is 2,000, and 5,000 for `tcp-idle`.
    pub(crate) idle_connections: Option<usize>,
    /// Second half of the result's file name.
    pub(crate) name: String,
    /// False with `--no-save`: print only.
    pub(crate) save: bool,
    /// The binary to compare.
    pub(crate) ringway: PathBuf,
}

/// Text of `--help`.
pub(crate) const USAGE: &str = "compares Ringway with nginx, HAProxy, Envoy, Traefik and Caddy on this machine

  perf/run [--quick] [--rounds N] [--seconds N] [--workloads a,b] [--only x,y] [--name NAME] [--no-save]

  --quick          two rounds of two seconds against nginx and HAProxy, without 16k and 128k (about two minutes)
  --rounds N       measured runs per contender and workload (default 7)
  --seconds N      length of a run (default 3)
  --workloads LIST of small64 small512 16k 128k 1m close logon h2 tls-small tls-handshake idle
                   tcp-small tcp-bulk tcp-idle (default: all)
  --only LIST      of ringway-io_uring ringway-epoll ringway-io_uring-log ringway-epoll-log
                   nginx nginx-log haproxy haproxy-splice envoy traefik caddy; `ringway` stands for all of ours (default: all)
  --idle N         connections of the idle workloads (default 2000, and 5000 for tcp-idle)
  --name NAME      results go to perf/results/DATE-NAME.md and .json (default: full or quick)
  --no-save        print the table only
  --ringway FILE   the binary to compare (default: target/release/ringway)";

impl Args {
    /// Reads the arguments after the program's name.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Args, Failure> {
        let mut args = Args {
            workloads: Workload::ALL.to_vec(),
            contenders: Contender::ALL.to_vec(),
            rounds: 7,
            seconds: 3,
            idle_connections: None,
            name: "full".into(),
            save: true,
            ringway: "target/release/ringway".into(),
        };
        let mut arguments = arguments;
        while let Some(flag) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| usage(format!("{flag} needs a value")));
            match flag.as_str() {
                "--quick" => args.be_quick(),
                "--no-save" => args.save = false,
                "--rounds" => args.rounds = number(&value()?)?,
                "--seconds" => args.seconds = number(&value()?)?,
                "--idle" => args.idle_connections = Some(number(&value()?)?),
                "--name" => args.name = value()?,
                "--ringway" => args.ringway = value()?.into(),
                "--workloads" => args.workloads = listed(&value()?, workloads_named)?,
                "--only" => args.contenders = listed(&value()?, contenders_named)?,
                "--help" | "-h" => return Err(Failure::Usage(USAGE.into())),
                _ => return Err(usage(format!("unknown argument {flag}"))),
            }
        }
        if args.rounds == 0 || args.seconds == 0 || args.idle_connections == Some(0) {
            return Err(usage("--rounds, --seconds and --idle start at 1".into()));
        }
        if !args.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            return Err(usage("--name becomes part of a file name: letters, digits, - _ .".into()));
        }
        Ok(args)
    }

    fn be_quick(&mut self) {
        self.rounds = 2;
        self.seconds = 2;
        self.name = "quick".into();
        self.contenders.retain(|contender| !contender.is_slow_to_get());
        self.workloads.retain(|workload| !matches!(workload, Workload::Body16k | Workload::Body128k));
    }
}

fn usage(problem: String) -> Failure {
    Failure::Usage(format!("{problem}\n\n{USAGE}"))
}

fn number<N: std::str::FromStr>(text: &str) -> Result<N, Failure> {
    text.parse().map_err(|_| usage(format!("not a number: {text}")))
}

fn listed<T>(text: &str, named: impl Fn(&str) -> Vec<T>) -> Result<Vec<T>, Failure> {
    let mut found = Vec::new();
    for name in text.split(',') {
        let matching = named(name);
        if matching.is_empty() {
            return Err(usage(format!("unknown name {name}")));
        }
        found.extend(matching);
    }
    Ok(found)
}

fn workloads_named(name: &str) -> Vec<Workload> {
    Workload::ALL.into_iter().filter(|workload| workload.name() == name).collect()
}

fn contenders_named(name: &str) -> Vec<Contender> {
    let all_of_ours = name == "ringway";
    Contender::ALL.into_iter().filter(|c| c.name() == name || (all_of_ours && c.is_ringway())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, Failure> {
        Args::parse(words.iter().map(|word| word.to_string()))
    }

    #[test]
    fn ringway_stands_for_all_of_its_variants() {
        let args = parse(&["--only", "nginx,ringway"]).expect("valid arguments");
        assert_eq!(args.contenders.len(), 5);
    }

    #[test]
    fn a_misspelt_workload_is_refused() {
        assert!(parse(&["--workloads", "small46"]).is_err());
        assert!(parse(&["--rounds", "0"]).is_err());
        assert!(parse(&["--name", "../x"]).is_err());
    }
}

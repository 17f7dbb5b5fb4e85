//! The words of the command line. What they do stands in the module of each subcommand; what they teach in `help`.

use crate::help;
use clap::{Args, Parser, Subcommand};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::path::PathBuf;

/// A load balancer and API gateway: one thread per core, io_uring, every decision explained.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = help::TOP, after_long_help = help::TOP)]
pub(crate) struct CommandLine {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve traffic from a configuration file, or from addresses given here
    #[command(after_help = help::RUN_SHORT, after_long_help = help::RUN, override_usage = help::RUN_USAGE)]
    Run(Run),
    /// Try it: three upstreams, a configuration and live figures, all in this process
    #[command(after_help = help::DEMO_SHORT, after_long_help = help::DEMO)]
    Demo(Demo),
    /// Say everything that is wrong with a configuration, without side effects
    #[command(after_help = help::CHECK_SHORT, after_long_help = help::CHECK)]
    Check(Check),
    /// List every route that can be reached without saying who one is
    #[command(after_help = help::PROVE, after_long_help = help::PROVE)]
    Prove(Prove),
    /// Show a configuration in another form
    #[command(subcommand, after_help = help::CONFIG, after_long_help = help::CONFIG, disable_help_subcommand = true)]
    Config(Config),
    /// Ask a running Ringway how it is
    #[command(after_help = help::STATUS_SHORT, after_long_help = help::STATUS)]
    Status(Status),
    /// Say what becomes of a request, and why: route, filters, timeouts, endpoint, with the lines that decide
    #[command(after_help = help::EXPLAIN_SHORT, after_long_help = help::EXPLAIN)]
    Explain(Explain),
    /// Say what a new configuration would change, and what that means for what is under way
    #[command(after_help = help::PLAN_SHORT, after_long_help = help::PLAN)]
    Plan(Plan),
    /// Tell a running Ringway to read its configuration again
    #[command(after_help = help::RELOAD_SHORT, after_long_help = help::RELOAD)]
    Reload(Reload),
    /// Tell a running Ringway to stop gracefully, perhaps after a pause in which it is not ready but serves
    #[command(after_help = help::DRAIN_SHORT, after_long_help = help::DRAIN)]
    Drain(Drain),
    /// Send a configuration file to a running Ringway and put it into force
    #[command(after_help = help::APPLY_SHORT, after_long_help = help::APPLY)]
    Apply(Apply),
    /// Keep the configuration that was put into force with --confirm
    #[command(after_help = help::CONFIRM, after_long_help = help::CONFIRM)]
    Confirm(Told),
    /// Go back to a configuration that was in force before
    #[command(after_help = help::ROLLBACK, after_long_help = help::ROLLBACK)]
    Rollback(Rollback),
    /// List the configuration in force and those before it
    #[command(after_help = help::HISTORY, after_long_help = help::HISTORY)]
    History(Told),
    /// Take an endpoint of a running Ringway out of service, bring it back, or change its weight
    #[command(subcommand, after_help = help::ENDPOINT, after_long_help = help::ENDPOINT, disable_help_subcommand = true)]
    Endpoint(Endpoint),
    /// Make, list and revoke API keys in a file
    #[command(subcommand, after_help = help::KEYS, after_long_help = help::KEYS, disable_help_subcommand = true)]
    Keys(Keys),
    /// Look at this host, and try the endpoints of a configuration
    #[command(after_help = help::DOCTOR_SHORT, after_long_help = help::DOCTOR)]
    Doctor(Doctor),
    /// Watch a running Ringway
    #[command(after_help = help::WATCH_SHORT, after_long_help = help::WATCH)]
    Top(Top),
    /// Say what became of a past request, and why
    #[command(after_help = help::WHY_SHORT, after_long_help = help::WHY)]
    Why(Why),
    /// Print the version
    #[command(after_help = help::VERSION, after_long_help = help::VERSION)]
    Version(Version),
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Configuration file; `.json` is JSON, every other name is KDL
    #[arg(value_name = "CONFIG", required_unless_present_any = ["listen", "tcp"], conflicts_with_all = ["listen", "tcp"])]
    pub(crate) config: Option<PathBuf>,
    /// Read the file again whenever it, or what it includes, changes
    #[arg(long, conflicts_with = "listen")]
    pub(crate) watch: bool,
    /// Keep what is in force in this directory, and start with it when the file is broken
    #[arg(long, value_name = "DIR", conflicts_with_all = ["listen", "tcp"])]
    pub(crate) last_good: Option<PathBuf>,
    /// On SIGTERM be not ready for so long, such as 5s, before listening ends [default: no pause]
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    pub(crate) drain_pause: Option<u64>,
    #[command(flatten)]
    pub(crate) short: ShortForm,
}

/// The form without a file.
#[derive(Debug, Default, Args)]
#[command(group(clap::ArgGroup::new("entry").args(["listen", "tcp"]).multiple(true)))]
pub(crate) struct ShortForm {
    /// Address to listen on, `IP:PORT` or `unix:PATH`; repeatable
    #[arg(long, value_name = "ADDR", requires = "upstream", help_heading = "Without a file")]
    pub(crate) listen: Vec<String>,
    /// Address whose connections are passed through as they are, whatever they carry; repeatable
    #[arg(long, value_name = "ADDR", requires = "upstream", help_heading = "Without a file")]
    pub(crate) tcp: Vec<String>,
    /// Endpoint to balance over, `IP:PORT`, `NAME:PORT`, `srv:NAME` or `unix:PATH`; repeatable
    #[arg(long, value_name = "ADDR", requires = "entry", help_heading = "Without a file")]
    pub(crate) upstream: Vec<String>,
    /// Admin API address, such as 127.0.0.1:9901 [default: none]
    #[arg(long, value_name = "ADDR", requires = "entry", help_heading = "Without a file")]
    pub(crate) admin: Option<String>,
    /// Worker threads [default: one per usable CPU]
    #[arg(long, value_name = "COUNT", requires = "entry", help_heading = "Without a file")]
    pub(crate) workers: Option<NonZeroU16>,
    /// I/O driver [default: auto]
    #[arg(long, value_name = "DRIVER", requires = "entry", help_heading = "Without a file")]
    #[arg(value_parser = ["auto", "io_uring", "epoll"])]
    pub(crate) io: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// End after so many seconds [default: run until Ctrl-C]
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u32>,
    /// Send requests over so many connections while it runs, 1 to 64 [default: none; 8 without a number]
    #[arg(long, value_name = "CONNECTIONS", num_args = 0..=1, default_missing_value = "8")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) load: Option<u16>,
    /// Print the configuration that the demo runs, and end
    #[arg(long, conflicts_with_all = ["seconds", "load"])]
    pub(crate) print_config: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// Configuration file; `.json` is JSON, every other name is KDL
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
    /// Exit with status 1 when there is such a route
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print them as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Configuration file; `.json` is JSON, every other name is KDL
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
    /// Exit with status 1 when there are warnings
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print the problems as JSON on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Print the configuration as JSON, the form for machines
    #[command(after_help = help::TO_JSON, after_long_help = help::TO_JSON)]
    ToJson {
        #[arg(value_name = "CONFIG")]
        config: PathBuf,
    },
    /// Print what the file says as JSON; with --effective every value that counts, and where it comes from
    #[command(after_help = help::SHOW, after_long_help = help::SHOW)]
    Show {
        #[arg(value_name = "CONFIG")]
        config: PathBuf,
        /// Every value, defaults included, with the line that it comes from
        #[arg(long)]
        effective: bool,
        /// As JSON; without --effective it always is
        #[arg(long)]
        json: bool,
    },
    /// Print the JSON Schema of the JSON form
    #[command(after_help = help::SCHEMA, after_long_help = help::SCHEMA)]
    Schema,
    /// Print a KDL file in its usual layout
    #[command(after_help = help::FMT, after_long_help = help::FMT)]
    Fmt {
        #[arg(value_name = "CONFIG")]
        config: PathBuf,
        /// Change the file instead of printing it
        #[arg(long, conflicts_with = "check")]
        write: bool,
        /// Print nothing; exit with status 1 when the layout is another
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Admin address, `IP:PORT` or `unix:PATH` [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", value_parser = parse_admin, conflicts_with = "config")]
    pub(crate) admin: Option<AdminAddr>,
    /// Take the admin address from this configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print what the admin API answers, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Method of the request
    #[arg(value_name = "METHOD")]
    pub(crate) method: String,
    /// `http://HOST[:PORT]/PATH?QUERY`, or only the path
    #[arg(value_name = "URL")]
    pub(crate) url: String,
    /// A header field, `Name: value`; repeatable
    #[arg(short = 'H', long = "header", value_name = "FIELD")]
    pub(crate) headers: Vec<String>,
    /// Address that the connection comes from [default: 127.0.0.1]
    #[arg(long, value_name = "IP")]
    pub(crate) from: Option<IpAddr>,
    /// Name of the listener [default: the one on the URL's port, or the first that fits its scheme]
    #[arg(long, value_name = "NAME")]
    pub(crate) listener: Option<String>,
    /// Ask this configuration file; nobody has to run
    #[arg(long, value_name = "FILE", conflicts_with = "admin")]
    pub(crate) config: Option<PathBuf>,
    /// Ask the running one at this admin address, `IP:PORT` or `unix:PATH` [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", value_parser = parse_admin)]
    pub(crate) admin: Option<AdminAddr>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Id of the request, from the log, a problem document or X-Request-Id
    #[arg(value_name = "REQUEST-ID", required_unless_present = "recent", conflicts_with = "recent")]
    pub(crate) id: Option<String>,
    /// List the newest instead
    #[arg(long)]
    pub(crate) recent: bool,
    /// Only those with this cause
    #[arg(long, value_name = "CAUSE", requires = "recent")]
    pub(crate) cause: Option<String>,
    /// Only those with this status
    #[arg(long, value_name = "STATUS", requires = "recent")]
    pub(crate) status: Option<u16>,
    /// Only those of this route, as `ringway why` shows its name
    #[arg(long, value_name = "NAME", requires = "recent")]
    pub(crate) route: Option<String>,
    /// Only those of this upstream
    #[arg(long, value_name = "NAME", requires = "recent")]
    pub(crate) upstream: Option<String>,
    /// At most so many, up to 1000
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) limit: u16,
    /// Admin address, `IP:PORT` or `unix:PATH` [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", value_parser = parse_admin, conflicts_with = "config")]
    pub(crate) admin: Option<AdminAddr>,
    /// Take the admin address from this configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print what the admin API answers, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Configuration file whose endpoints are tried
    #[arg(value_name = "CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Exit with status 1 when something could be better
    #[arg(long)]
    pub(crate) strict: bool,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// Print one frame and end, for scripts; rates are those of one interval
    #[arg(long)]
    pub(crate) once: bool,
    /// Milliseconds between two looks, 100 to 60000
    #[arg(long, value_name = "MS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(100..=60_000))]
    pub(crate) interval: u64,
    /// Admin address, `IP:PORT` or `unix:PATH` [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", value_parser = parse_admin, conflicts_with = "config")]
    pub(crate) admin: Option<AdminAddr>,
    /// Take the admin address from this configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// The new configuration; `.json` is JSON, every other name is KDL
    #[arg(value_name = "NEW")]
    pub(crate) new: PathBuf,
    /// Compare with this file instead of the running configuration
    #[arg(long, value_name = "OLD", conflicts_with = "admin")]
    pub(crate) against: Option<PathBuf>,
    /// Admin address of the running one, `IP:PORT` or `unix:PATH` [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", value_parser = parse_admin)]
    pub(crate) admin: Option<AdminAddr>,
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Reload {
    /// Admin address, `IP:PORT` or `unix:PATH` [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", value_parser = parse_admin, conflicts_with = "config")]
    pub(crate) admin: Option<AdminAddr>,
    /// Take the admin address from this configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Only say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go back after so long, such as 60s, unless `ringway confirm` comes first
    #[arg(long, value_name = "TIME", value_parser = parse_seconds, conflicts_with = "dry_run")]
    pub(crate) confirm: Option<u64>,
    /// Print what the admin API answers, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Admin address, `IP:PORT` or `unix:PATH` [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", value_parser = parse_admin, conflicts_with = "config")]
    pub(crate) admin: Option<AdminAddr>,
    /// Take the admin address from this configuration file
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Go on accepting for so long, such as 5s, while /ready already says no [default: no pause]
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    pub(crate) pause: Option<u64>,
    /// Do not stop after all; possible while the pause lasts
    #[arg(long, conflicts_with = "pause")]
    pub(crate) undo: bool,
    /// Print what the admin API answers, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// Configuration file; `.json` is JSON, every other name is KDL
    #[arg(value_name = "NEW")]
    pub(crate) new: PathBuf,
    /// Go back after so long, such as 60s, unless `ringway confirm` comes first
    #[arg(long, value_name = "TIME", value_parser = parse_seconds)]
    pub(crate) confirm: Option<u64>,
    #[command(flatten)]
    pub(crate) told: Told,
}

#[derive(Debug, Args)]
pub(crate) struct Rollback {
    /// Hash of the configuration, or how it begins, as `ringway history` shows it [default: the last one before]
    #[arg(value_name = "HASH")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) told: Told,
}

/// Who is told, and how the answer is shown.
#[derive(Debug, Args)]
pub(crate) struct Told {
    /// Admin address, `IP:PORT` or `unix:PATH` [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", value_parser = parse_admin)]
    pub(crate) admin: Option<AdminAddr>,
    /// Print what the admin API answers, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A time in whole seconds, an hour at most: `60s`, `5m`.
fn parse_seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor = match unit {
        "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        _ => None,
    };
    let seconds = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    seconds
        .filter(|seconds| (1..=3600).contains(seconds))
        .ok_or_else(|| "expected a time from 1s to 1h, such as 60s or 5m".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Make a key, show it once, and store its hash
    #[command(after_help = help::KEYS, after_long_help = help::KEYS)]
    Create(KeysCreate),
    /// Show what is stored of each key
    #[command(after_help = help::KEYS, after_long_help = help::KEYS)]
    List(KeysFile),
    /// Make a key useless from the next reload on
    #[command(after_help = help::KEYS, after_long_help = help::KEYS)]
    Revoke(KeysRevoke),
}

#[derive(Debug, Args)]
pub(crate) struct KeysCreate {
    /// File of keys; made if it is not there
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Whose key it is
    #[arg(long, value_name = "NAME")]
    pub(crate) consumer: Option<String>,
    /// Scope that the key has; repeatable
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Vec<String>,
    /// Group that the key is in; repeatable
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: Vec<String>,
    /// When it ends, in UTC, such as 2027-01-31T00:00:00Z [default: never]
    #[arg(long, value_name = "TIME")]
    pub(crate) not_after: Option<String>,
    /// Name of the key in logs and lists [default: from its hash]
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Second part of the key, so that its kind can be seen
    #[arg(long, value_name = "WORD", default_value = "live")]
    pub(crate) environment: String,
    /// File with the pepper of the policy
    #[arg(long, value_name = "FILE")]
    pub(crate) pepper: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeysFile {
    /// File of keys
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct KeysRevoke {
    /// File of keys
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Which key
    #[arg(value_name = "ID")]
    pub(crate) id: String,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Endpoint {
    /// Change what an endpoint gets, until the process ends
    #[command(after_help = help::ENDPOINT_SET, after_long_help = help::ENDPOINT_SET)]
    Set(EndpointSet),
}

#[derive(Debug, Args)]
pub(crate) struct EndpointSet {
    /// Name of the upstream
    #[arg(value_name = "UPSTREAM")]
    pub(crate) upstream: String,
    /// The endpoint, as `ringway status` shows it
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: String,
    /// ready: as usual; drain: only what is bound to it already; down: nothing
    #[arg(long, value_name = "STATE", value_parser = ["ready", "drain", "down"], required_unless_present = "weight")]
    pub(crate) state: Option<String>,
    /// 1 to 1000, or `configured`
    #[arg(long, value_name = "WEIGHT", value_parser = parse_weight)]
    pub(crate) weight: Option<Weight>,
    /// Admin address, `IP:PORT` or `unix:PATH` [default: 127.0.0.1:9901]
    #[arg(long, value_name = "ADDR", value_parser = parse_admin)]
    pub(crate) admin: Option<AdminAddr>,
    /// Print what the admin API answers, as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A weight to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Back to that of the configuration.
    Configured,
    To(u16),
}

fn parse_weight(text: &str) -> Result<Weight, String> {
    match text.parse() {
        Ok(weight @ 1..=1000) => Ok(Weight::To(weight)),
        _ if text == "configured" => Ok(Weight::Configured),
        _ => Err("expected a number from 1 to 1000, or configured".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Version {
    /// As JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Where an admin API is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AdminAddr {
    Ip(SocketAddr),
    Unix(PathBuf),
}

impl std::fmt::Display for AdminAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AdminAddr::Ip(addr) => addr.fmt(f),
            AdminAddr::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn parse_admin(text: &str) -> Result<AdminAddr, String> {
    match text.strip_prefix("unix:") {
        Some("") => Err("the path after `unix:` is missing".to_owned()),
        Some(path) => Ok(AdminAddr::Unix(path.into())),
        None => text
            .parse()
            .map(AdminAddr::Ip)
            .map_err(|_| "expected IP:PORT such as 127.0.0.1:9901, or unix:PATH".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        CommandLine::try_parse_from(line.split_whitespace()).map(|parsed| parsed.command)
    }

    fn refusal(line: &str) -> ErrorKind {
        parse(line).expect_err(line).kind()
    }

    #[test]
    fn the_declaration_is_consistent() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn run_takes_a_file_or_addresses_but_not_both_and_not_half() {
        assert!(matches!(parse("ringway run a.kdl"), Ok(Command::Run(run)) if run.config.is_some()));
        let short = "ringway run --listen 127.0.0.1:8080 --upstream 127.0.0.1:9001 --upstream 127.0.0.1:9002";
        assert!(matches!(parse(short), Ok(Command::Run(run)) if run.short.upstream.len() == 2));
        let through = "ringway run --tcp 127.0.0.1:5432 --listen 127.0.0.1:8080 --upstream 127.0.0.1:9001";
        assert!(matches!(parse(through), Ok(Command::Run(run)) if run.short.tcp.len() == 1));
        assert!(parse("ringway run --tcp 127.0.0.1:5432 --upstream 127.0.0.1:9001 --workers 2").is_ok());
        assert_eq!(refusal("ringway run --tcp 127.0.0.1:1"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refusal("ringway run a.kdl --tcp 1 --upstream 2"), ErrorKind::ArgumentConflict);
        assert_eq!(refusal("ringway run"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refusal("ringway run --listen 127.0.0.1:1"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refusal("ringway run --upstream 127.0.0.1:1"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refusal("ringway run a.kdl --listen 1 --upstream 2"), ErrorKind::ArgumentConflict);
        assert_eq!(refusal("ringway run a.kdl --workers 2"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refusal("ringway run --listen 1 --upstream 2 --workers 0"), ErrorKind::ValueValidation);
        assert_eq!(refusal("ringway run --listen 1 --upstream 2 --io kqueue"), ErrorKind::InvalidValue);
    }

    #[test]
    fn status_asks_one_place() {
        let unix = parse("ringway status --admin unix:/run/ringway.sock --json");
        let expected = AdminAddr::Unix("/run/ringway.sock".into());
        assert!(matches!(unix, Ok(Command::Status(Status { admin: Some(a), .. })) if a == expected));
        assert_eq!(refusal("ringway status --admin localhost"), ErrorKind::ValueValidation);
        assert_eq!(refusal("ringway status --admin unix:"), ErrorKind::ValueValidation);
        assert_eq!(refusal("ringway status --admin 127.0.0.1:1 --config a.kdl"), ErrorKind::ArgumentConflict);
    }

    #[test]
    fn an_endpoint_is_given_a_state_or_a_weight() {
        let both = parse("ringway endpoint set api 10.0.0.1:80 --state drain --weight 2");
        assert!(
            matches!(both, Ok(Command::Endpoint(Endpoint::Set(set))) if set.weight == Some(Weight::To(2)))
        );
        let back = parse("ringway endpoint set api 10.0.0.1:80 --weight configured");
        assert!(
            matches!(back, Ok(Command::Endpoint(Endpoint::Set(set))) if set.weight == Some(Weight::Configured))
        );
        assert_eq!(refusal("ringway endpoint set api 10.0.0.1:80"), ErrorKind::MissingRequiredArgument);
        assert_eq!(refusal("ringway endpoint set api 10.0.0.1:80 --state off"), ErrorKind::InvalidValue);
        assert_eq!(refusal("ringway endpoint set api 10.0.0.1:80 --weight 0"), ErrorKind::ValueValidation);
    }

    #[test]
    fn the_load_of_the_demo_is_bounded() {
        assert!(matches!(parse("ringway demo --load"), Ok(Command::Demo(Demo { load: Some(8), .. }))));
        assert!(matches!(
            parse("ringway demo --load 3 --seconds 2"),
            Ok(Command::Demo(Demo { load: Some(3), .. }))
        ));
        assert_eq!(refusal("ringway demo --load 65"), ErrorKind::ValueValidation);
        assert_eq!(refusal("ringway demo --load 0"), ErrorKind::ValueValidation);
    }

    #[test]
    fn words_of_other_commands_are_refused() {
        for line in ["ringway tip", "ringway explain GET", "ringway config"] {
            let kind = refusal(line);
            let expected = [
                ErrorKind::InvalidSubcommand,
                ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
                ErrorKind::MissingRequiredArgument,
            ];
            assert!(expected.contains(&kind), "{line}: {kind:?}");
        }
    }

    #[test]
    fn every_subcommand_is_in_the_help_and_teaches_by_example() {
        let mut command = CommandLine::command();
        let top = command.render_long_help().to_string();
        for name in [
            "run", "demo", "check", "prove", "config", "status", "explain", "plan", "reload", "drain",
            "apply", "confirm", "rollback", "history", "endpoint", "doctor", "top", "why", "version",
        ] {
            assert!(top.contains(&format!("\n  {name} ")), "{name} is missing:\n{top}");
            let sub = command.find_subcommand_mut(name).expect("declared above");
            let long = sub.render_long_help().to_string();
            assert!(long.contains("Examples:"), "{name} has no examples:\n{long}");
            assert!(long.contains(&format!("ringway {name}")), "{name} does not show itself:\n{long}");
        }
        let config = command.find_subcommand_mut("config").expect("declared above");
        for form in config.get_subcommands_mut() {
            let long = form.render_long_help().to_string();
            assert!(long.contains(&format!("ringway config {}", form.get_name())), "no example:\n{long}");
        }
    }
}

//! Another configuration in place of the one in force: read, compiled beside it, compared, put into force or refused.
//!
//! Whatever is wrong with the new one, the one in force stays as it is, and whoever asked is told all of it.

use super::{Deployer, Ready, compiled};
use crate::node::InForce;
use crate::notice::notice;
use crate::process::Draining;
use config::{Change, Changes, Config, Format, Loaded, Problem, Problems, Sealed};
use sha2::{Digest, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep_until};

/// What is to be put into force, and how.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub(crate) wanted: Wanted,
    /// Only say what would happen.
    pub(crate) dry_run: bool,
    /// Only if the one in force still has this hash.
    pub(crate) expected: Option<String>,
    /// Taken back after so long unless somebody confirms it.
    pub(crate) confirm: Option<Duration>,
    /// Who asks, for the log.
    pub(crate) by: String,
}

/// Where the configuration stands.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// In the file that the process was started with.
    File,
    /// In this text, which came over the network: it may refer to nothing outside itself.
    Text { text: String, format: Format },
    /// It was in force before: the last one, or that of this hash.
    Earlier { hash: Option<String> },
}

impl Replacement {
    /// At once and for good.
    pub(crate) fn now(wanted: Wanted, by: impl Into<String>) -> Replacement {
        Replacement { wanted, dry_run: false, expected: None, confirm: None, by: by.into() }
    }
}

/// What has happened, or would.
#[derive(Clone, Debug)]
pub(crate) struct Replaced {
    /// In force now.
    pub(crate) generation: u64,
    /// Of the configuration that was asked for.
    pub(crate) hash: Arc<str>,
    pub(crate) changes: Changes,
    /// All that differs from what the process was started with and counts only after a restart.
    pub(crate) at_restart: Vec<Change>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) dry_run: bool,
}

/// Why the one in force has stayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotReplaced {
    /// The process was started without a file.
    NoFile,
    /// The new one does not load.
    Problems(Problems),
    /// Nothing of that hash was in force lately.
    NoEarlier,
    /// It is good, but this process cannot put it into force.
    NotHere(String),
    /// Another one is in force than was expected: that with this hash.
    Other(Arc<str>),
    /// The node stops.
    Stopping,
}

impl fmt::Display for NotReplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotReplaced::NoFile => f.write_str(
                "this process was started without a configuration file; send it one with PUT /v1/config",
            ),
            NotReplaced::Problems(problems) => match problems.errors() {
                1 => f.write_str("the configuration has an error"),
                errors => write!(f, "the configuration has {errors} errors"),
            },
            NotReplaced::NoEarlier => {
                f.write_str("no such configuration was in force lately; see /v1/history")
            }
            NotReplaced::NotHere(why) => f.write_str(why),
            NotReplaced::Other(hash) => write!(f, "the configuration in force is another one by now: {hash}"),
            NotReplaced::Stopping => f.write_str("the node is about to stop"),
        }
    }
}

impl Deployer {
    /// Carries `replacement` out. Orders that come meanwhile wait.
    pub(super) async fn replace(&mut self, replacement: Replacement) -> Result<Replaced, NotReplaced> {
        let by = replacement.by.clone();
        let is_dry = replacement.dry_run;
        let outcome = self.try_replace(replacement).await;
        if !is_dry {
            self.note(&outcome, &by);
        }
        outcome
    }

    async fn try_replace(&mut self, replacement: Replacement) -> Result<Replaced, NotReplaced> {
        let Replacement { wanted, dry_run, expected, confirm, by: _ } = replacement;
        if self.node.draining() == Draining::Begun {
            return Err(NotReplaced::Stopping);
        }
        let in_force = self.node.in_force();
        if expected.is_some_and(|expected| *expected != *in_force.hash) {
            return Err(NotReplaced::Other(Arc::clone(&in_force.hash)));
        }
        let source = match &wanted {
            Wanted::File => {
                self.file.as_ref().map(|file| file.display().to_string()).ok_or(NotReplaced::NoFile)?
            }
            Wanted::Text { .. } => "the admin API".to_owned(),
            Wanted::Earlier { hash } => {
                self.history.find(hash.as_deref()).ok_or(NotReplaced::NoEarlier)?.source.clone()
            }
        };
        let earlier = match &wanted {
            Wanted::Earlier { hash } => self.history.find(hash.as_deref()).map(|one| Arc::clone(&one.config)),
            Wanted::File | Wanted::Text { .. } => None,
        };
        let began = Instant::now();
        let (file, live, previous) = (self.file.clone(), Arc::clone(&self.live), self.node.snapshot());
        let (started, current) = (Arc::clone(&self.started), Arc::clone(&in_force.config));
        let workers = self.node.facts.workers;
        let preparing = tokio::task::spawn_blocking(move || -> Result<_, Problems> {
            let (config, mut warnings) = match earlier {
                Some(earlier) => (earlier, Vec::new()),
                None => {
                    let Loaded { config, warnings } = read(wanted, file.as_deref())?;
                    (Arc::new(config), warnings)
                }
            };
            let ready = compiled(&config, &live, workers, &previous)
                .map_err(|found| Problems(found.iter().map(crate::Problem::to_error).collect()))?;
            warnings.extend(ready.warnings.iter().map(crate::Problem::to_warning));
            let changes = Changes::between(&current, &config);
            let at_restart: Vec<_> = Changes::between(&started, &config).at_restart().cloned().collect();
            Ok((hash(&config), config, ready, changes, at_restart, warnings))
        });
        let prepared =
            preparing.await.map_err(|error| NotReplaced::NotHere(format!("internal error: {error}")))?;
        let (hash, config, ready, changes, at_restart, warnings) = prepared.map_err(NotReplaced::Problems)?;
        if dry_run {
            let generation = self.node.snapshot().generation;
            return Ok(Replaced { generation, hash, changes, at_restart, warnings, dry_run });
        }
        sleep_until(self.earliest).await;
        self.earliest = Instant::now() + super::EVERY;
        let generation = self.enforce(config, ready, began, &hash, source, &at_restart)?;
        self.history.replaced(in_force, &hash, confirm);
        self.node.set_history(self.history.clone());
        self.keep_last_good().await;
        Ok(Replaced { generation, hash, changes, at_restart, warnings, dry_run })
    }

    /// From here on the new configuration is the one.
    fn enforce(
        &mut self,
        config: Arc<Config>,
        ready: Ready,
        began: Instant,
        hash: &Arc<str>,
        source: String,
        at_restart: &[Change],
    ) -> Result<u64, NotReplaced> {
        let before = std::mem::replace(&mut self.config, Arc::clone(&config));
        // All that was ordered until now is in it.
        let waiting = std::mem::take(&mut self.waiting);
        match self.put_into_force(ready, began) {
            Ok(snapshot) => {
                self.due = false;
                waiting.into_iter().for_each(|waiting| waiting.conclude(&snapshot));
                Arc::make_mut(&mut self.live).keep_names_of(&config);
                self.node.set_in_force(InForce {
                    config,
                    hash: Arc::clone(hash),
                    source,
                    since: SystemTime::now(),
                    at_restart: at_restart.iter().map(ToString::to_string).collect(),
                });
                Ok(snapshot.generation)
            }
            Err(why) => {
                self.config = before;
                self.waiting = waiting;
                Err(NotReplaced::NotHere(why))
            }
        }
    }

    /// Somebody confirms the change that is on trial; its hash, or `None` when there is none.
    pub(super) fn confirm(&mut self, by: &str) -> Option<Arc<str>> {
        let trial = self.history.trial.take()?;
        self.node.set_history(self.history.clone());
        notice(format_args!("configuration {} is confirmed (by {by})", trial.hash));
        Some(trial.hash)
    }

    /// Nobody has confirmed it: back to the one before.
    pub(super) async fn take_back(&mut self) {
        let Some(trial) = self.history.trial.take() else { return };
        let hash = Some(trial.back_to.hash.to_string());
        let by = format!("nobody confirming {}", trial.hash);
        if self.replace(Replacement::now(Wanted::Earlier { hash }, by)).await.is_err() {
            self.node.set_history(self.history.clone());
        }
    }

    /// Writes what is in force where a start with a broken file finds it; a failure is said and changes nothing.
    pub(super) async fn keep_last_good(&mut self) {
        let Some(directory) = self.last_good.clone() else { return };
        let config = Arc::clone(&self.config);
        let keeping = tokio::task::spawn_blocking(move || {
            crate::last_good::keep(&directory, &config).map_err(|error| (directory, error))
        });
        if let Ok(Err((directory, error))) = keeping.await {
            notice(format_args!(
                "the last good configuration cannot be kept in {}: {error}",
                directory.display()
            ));
        }
    }

    /// Counts what has happened, and says it in one line.
    fn note(&self, outcome: &Result<Replaced, NotReplaced>, by: &str) {
        match outcome {
            Ok(replaced) => {
                self.node.reloads.succeed();
                let Replaced { generation, hash, changes, at_restart, .. } = replaced;
                notice(format_args!(
                    "configuration {hash} is in force, generation {generation} (asked by {by}): {}",
                    changes.summary()
                ));
                for change in at_restart {
                    notice(format_args!("{}: takes effect at restart", change.name));
                }
            }
            Err(why) => {
                self.node.reloads.fail(why);
                let first = match why {
                    NotReplaced::Problems(problems) => first_error(problems),
                    _ => String::new(),
                };
                notice(format_args!(
                    "configuration refused, the one in force stays (asked by {by}): {why}{first}"
                ));
            }
        }
    }
}

/// The first of the errors as it begins a message, and where to see the others.
fn first_error(problems: &Problems) -> String {
    let error = problems.0.iter().find(|problem| problem.severity == config::Severity::Error);
    let Some(error) = error else { return String::new() };
    let place = error.place.as_ref();
    let place = place.map(|place| format!("{}:{}:{}: ", place.file, place.line, place.column));
    format!(": {}{}; `ringway check` shows everything", place.unwrap_or_default(), error.what)
}

fn read(wanted: Wanted, file: Option<&Path>) -> Result<Loaded, Problems> {
    match (wanted, file) {
        (Wanted::Text { text, format }, _) => config::parse(&text, TEXT_NAME, format, &Sealed),
        (Wanted::File, Some(file)) => config::load(file),
        (Wanted::File | Wanted::Earlier { .. }, _) => config::load(&PathBuf::new()),
    }
}

/// What names a configuration: the first 16 digits of SHA-256 over its JSON form, in which secrets are references.
pub(crate) fn hash(config: &Config) -> Arc<str> {
    let digest = Sha256::digest(config.to_json().as_bytes());
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<String>().into()
}

/// What problems call a text that came through the API.
const TEXT_NAME: &str = "request";

//! What the compiler does not check: who may name what, where `unsafe` may stand, that documentation links lead
//! somewhere and that every example configuration is explained. Sizes are reported, people decide.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Crates under `src/`: name, those of ours that they may depend on, foreign ones that need permission.
const CRATES: [(&str, &[&str], &[&str]); 13] = [
    ("base", &[], &[]),
    ("wire", &["base"], &[]),
    ("auth", &[], &["aws-lc-rs"]),
    ("cache", &[], &[]),
    ("config", &[], &["serde", "serde_json"]),
    ("runtime", &["base"], &["libc", "io-uring"]),
    ("tls", &["wire", "base"], &["rustls", "aws-lc-rs"]),
    ("http2", &[], &["h2", "tokio"]),
    ("compress", &["wire"], &["brotli", "flate2", "zstd-safe"]),
    ("traffic", &["wire", "auth", "cache", "base"], &[]),
    ("data_plane", &["traffic", "wire", "auth", "cache", "http2", "compress", "runtime", "base"], &[]),
    (
        "control_plane",
        &["traffic", "tls", "wire", "auth", "cache", "config", "base"],
        &["serde", "serde_json", "tokio", "rustls", "h2", "hickory-resolver"],
    ),
    (
        "cli",
        &["base", "wire", "auth", "runtime", "traffic", "config", "data_plane", "control_plane"],
        &["serde_json", "tokio"],
    ),
];

/// Foreign crates that only the crates above may depend on.
const GUARDED: [&str; 12] = [
    "libc",
    "io-uring",
    "serde",
    "serde_json",
    "tokio",
    "rustls",
    "h2",
    "hickory-resolver",
    "aws-lc-rs",
    "brotli",
    "flate2",
    "zstd-safe",
];

/// Words that a crate must not contain outside comments.
const FORBIDDEN: [(&str, &[&str]); 3] = [
    ("data_plane", &["serde", "tokio", "config::", "std::time::Instant", concat!("thread::", "sleep")]),
    ("wire", &["std::time::Instant", "std::net::Tcp"]),
    ("traffic", &["std::time::Instant", "std::net::Tcp"]),
];

/// Foreign crates that one file only may name, within the crate that has them.
const ONE_FILE: [(&str, &str, &str); 2] = [
    ("control_plane", "rustls", "src/control_plane/probes/tls.rs"),
    ("control_plane", "h2::", "src/control_plane/probes/grpc.rs"),
];

const LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn crates_depend_only_on_what_their_layer_allows() {
    let ours: BTreeSet<&str> = CRATES.iter().map(|(name, ..)| *name).collect();
    let mut problems = Vec::new();
    for (name, of_ours, foreign) in CRATES {
        let manifest = read(&root().join("src").join(name).join("Cargo.toml"));
        for dependency in dependencies(&manifest) {
            let known = dependency.as_str();
            let ours_refused = ours.contains(known) && !of_ours.contains(&known);
            let foreign_refused = GUARDED.contains(&known) && !foreign.contains(&known);
            if ours_refused || foreign_refused {
                problems.push(format!("src/{name}/Cargo.toml: {name} must not depend on {known}"));
            }
        }
    }
    report(problems);
}

#[test]
fn every_crate_under_src_is_known_here() {
    let known: BTreeSet<String> = CRATES.iter().map(|(name, ..)| name.to_string()).collect();
    let found: BTreeSet<String> = fs::read_dir(root().join("src"))
        .expect("src exists")
        .flatten()
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(known, found, "add the new crate to CRATES with what it may use");
}

#[test]
fn crates_do_not_name_what_is_closed_to_them() {
    let mut problems = Vec::new();
    for (name, words) in FORBIDDEN {
        for (file, text) in rust_files(&root().join("src").join(name)) {
            for (number, line) in code_lines(&text) {
                for word in words.iter().filter(|word| line.contains(**word)) {
                    problems.push(format!("{}:{number}: {name} must not name {word}", shown(&file)));
                }
            }
        }
    }
    report(problems);
}

#[test]
fn crates_that_one_file_wraps_are_named_nowhere_else() {
    let mut problems = Vec::new();
    for (name, word, owner) in ONE_FILE {
        for (file, text) in rust_files(&root().join("src").join(name)) {
            let path = shown(&file);
            if path == owner || path.contains("/tests/") {
                continue;
            }
            for (number, _) in code_lines(&text).filter(|(_, line)| line.contains(word)) {
                problems.push(format!("{path}:{number}: only {owner} names {word}"));
            }
        }
    }
    report(problems);
}

#[test]
fn unsafe_stands_only_where_it_is_allowed() {
    let mut problems = Vec::new();
    for (file, text) in rust_files(&root()) {
        let path = shown(&file);
        let allowed = path.starts_with("src/runtime/")
            || (path.starts_with("src/base/") && text.contains("#![allow(unsafe_code"))
            || path.starts_with("bench/");
        if allowed {
            continue;
        }
        for (number, line) in code_lines(&text) {
            if UNSAFE.iter().any(|form| line.contains(form)) {
                problems
                    .push(format!("{path}:{number}: unsafe code outside runtime and named files of base"));
            }
        }
    }
    report(problems);
}

#[test]
fn crates_without_unsafe_forbid_it() {
    let missing = CRATES
        .iter()
        .map(|(name, ..)| *name)
        .filter(|name| !["runtime", "base"].contains(name))
        .filter(|name| {
            !read(&root().join("src").join(name).join("lib.rs")).contains("#![forbid(unsafe_code)]")
        })
        .map(|name| format!("src/{name}/lib.rs lacks #![forbid(unsafe_code)]"));
    report(missing.collect());
}

#[test]
fn every_open_end_carries_its_number() {
    let mut problems = Vec::new();
    for (file, text) in rust_files(&root()) {
        for (number, line) in text.lines().enumerate() {
            for mark in MARKS {
                let at = line.find(mark).map(|at| &line[at + mark.len()..]);
                if at.is_some_and(|rest| !rest.starts_with("(#")) {
                    problems.push(format!("{}:{}: {mark} without a number", shown(&file), number + 1));
                }
            }
        }
    }
    report(problems);
}

#[test]
fn tests_are_neither_ignored_nor_asleep() {
    let mut problems = Vec::new();
    for (file, text) in rust_files(&root()) {
        let path = shown(&file);
        let all_tests = path.starts_with("tests/") || path.ends_with("/tests.rs") || path.contains("/tests/");
        let mut in_tests = all_tests;
        for (number, line) in code_lines(&text) {
            in_tests |= line.trim_start().starts_with("mod tests {");
            if line.contains(IGNORE) {
                problems.push(format!("{path}:{number}: an ignored test tests nothing"));
            }
            if in_tests && SLEEPS.iter().any(|form| line.contains(form)) {
                problems.push(format!("{path}:{number}: a test that sleeps is a bug"));
            }
        }
    }
    report(problems);
}

#[test]
fn links_of_the_documentation_lead_somewhere() {
    let mut problems = Vec::new();
    for (file, text) in markdown_files() {
        let folder = file.parent().expect("a file has a folder");
        for target in links(&text).filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
        {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let destination = if path.is_empty() { file.clone() } else { folder.join(path) };
            if !destination.exists() {
                problems.push(format!("{}: link to {target}, which does not exist", shown(&file)));
            } else if !anchor.is_empty()
                && destination.extension().is_some_and(|e| e == "md")
                && !anchors(&read(&destination)).contains(anchor)
            {
                problems.push(format!("{}: link to {target}, no such heading", shown(&file)));
            }
        }
    }
    report(problems);
}

#[test]
fn every_example_configuration_is_mentioned_in_the_documentation() {
    let documentation: String = markdown_files().into_iter().map(|(_, text)| text).collect();
    let Ok(entries) = fs::read_dir(root().join("configs")) else { return };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let silent = names.filter(|name| name.ends_with(".kdl") && !documentation.contains(name.as_str()));
    report(silent.map(|name| format!("configs/{name} is mentioned nowhere in README.md or docs/")).collect());
}

/// There is no engine here that builds the image; what can be told without one is told.
#[test]
fn the_container_recipe_names_what_exists() {
    let recipe = read(&root().join("configs/container/Dockerfile"));
    let sent = read(&root().join("configs/container/Dockerfile.dockerignore"));
    let lines: Vec<&str> = recipe.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    let with = |word: &str| {
        let prefix = format!("{word} ");
        let found =
            lines.iter().filter_map(move |line| line.strip_prefix(prefix.as_str()).map(str::to_owned));
        found.collect::<Vec<_>>()
    };
    let mut problems = Vec::new();
    for copied in with("COPY") {
        let words: Vec<&str> = copied.split_whitespace().collect();
        if words[0].starts_with("--from=") {
            if words[1] != "/source/target/release/ringway" {
                problems.push(format!("{} is not what the build makes", words[1]));
            }
            continue;
        }
        for source in &words[..words.len() - 1] {
            let top = source.split('/').next().unwrap_or(source);
            if !root().join(source).exists() {
                problems.push(format!("{source} is copied, and does not exist"));
            }
            if !sent.lines().any(|line| line == format!("!{top}")) {
                problems.push(format!("{source} is copied, and not sent to the builder"));
            }
        }
    }
    let manifest = read(&root().join("Cargo.toml"));
    let version =
        manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap_or("\"none\"");
    if !with("FROM")[0].starts_with(&format!("rust:{}-", version.trim_matches('"'))) {
        problems.push(format!("it is not built with Rust {version}"));
    }
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap_or_default();
    for member in members.split('"').skip(1).step_by(2) {
        let top = member.split('/').next().unwrap_or(member);
        if !with("COPY").iter().any(|copied| copied.split_whitespace().any(|word| word == top)) {
            problems.push(format!("the workspace member {top} is not copied"));
        }
    }
    let user = with("USER").first().and_then(|user| user.split(':').next()?.parse::<u32>().ok());
    if user.is_none_or(|user| user == 0) {
        problems.push("it does not run as a user without privileges".to_owned());
    }
    let command = read(&root().join("src/cli/lib.rs"));
    for (line, subcommand) in [("HEALTHCHECK", "status"), ("CMD", "run"), ("RUN", "check")] {
        let handled = format!("Command::{}{}(", subcommand[..1].to_uppercase(), &subcommand[1..]);
        let is_there = with(line).iter().any(|words| words.contains(&format!("\"{subcommand}\"")));
        if !is_there || !command.contains(&handled) {
            problems
                .push(format!("{line} does not say `ringway {subcommand}`, or there is no such subcommand"));
        }
    }
    report(problems);
}

#[test]
fn long_files_and_functions_are_reported() {
    for (file, text) in rust_files(&root()) {
        let path = shown(&file);
        let lines = text.lines().count();
        if lines > LINES_MAX && !path.ends_with("_table.rs") {
            println!("note: {path} has {lines} lines (more than {LINES_MAX})");
        }
        for (name, lines) in functions(&text).into_iter().filter(|(_, lines)| *lines > FUNCTION_LINES_MAX) {
            println!("note: {path}: fn {name} has {lines} lines (more than {FUNCTION_LINES_MAX})");
        }
    }
}

// Written in two halves so that this file does not find itself.
const UNSAFE: [&str; 4] = [
    concat!("unsafe", " {"),
    concat!("unsafe", " fn"),
    concat!("unsafe", " impl"),
    concat!("unsafe", " extern"),
];
const MARKS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];
const IGNORE: &str = concat!("#[ign", "ore");
const SLEEPS: [&str; 3] =
    [concat!("thread::", "sleep"), concat!("time::", "sleep("), concat!("use std::thread::", "sleep")];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

#[track_caller]
fn report(problems: Vec<String>) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

fn files(folder: &Path, extension: &str, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !["target", "corpus", "artifacts"].contains(&name.as_str()) {
                files(&path, extension, found);
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push((path.clone(), read(&path)));
        }
    }
}

fn rust_files(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(folder, "rs", &mut found);
    found
}

fn markdown_files() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    files(&root(), "md", &mut found);
    found
}

/// Lines with their numbers, comments cut off; good enough for words that nobody puts into strings.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.map(|(number, line)| (number, line.split("//").next().unwrap_or_default()))
}

/// Names in every `[dependencies]` table of a manifest; what only tests use is not of interest.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]") && !line.contains("dev-") && !line.contains("build-");
        } else if inside && let Some((name, _)) = line.split_once(['.', '=']) {
            names.push(name.trim().to_string());
        }
    }
    names
}

/// Targets of inline links outside code blocks.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    let prose = text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    });
    prose.flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split([')', ' ']).next())
}

/// Headings as the anchors that a forge makes of them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Functions and their lengths, by indentation: rustfmt closes a body where its line began.
fn functions(text: &str) -> Vec<(String, usize)> {
    let mut open: Vec<(String, String, usize)> = Vec::new();
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let indent: String = line.chars().take_while(|c| *c == ' ').collect();
        let code = line.trim_start();
        if code == "}"
            && let Some(at) = open.iter().rposition(|(_, i, _)| *i == indent)
        {
            let (name, _, start) = open.remove(at);
            found.push((name, number - start + 1));
        }
        let words = ["pub", "fn ", "async fn ", "const fn ", UNSAFE[1]];
        let starts = words.iter().any(|word| code.starts_with(word));
        if starts && let Some((_, rest)) = code.split_once("fn ") {
            let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            open.retain(|(_, i, _)| i.len() < indent.len());
            open.push((name, indent, number));
        }
    }
    found
}

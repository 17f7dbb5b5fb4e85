//! The crate as its callers see it.

use crate::grammar::Kind;
use crate::model::{Action, Config, Matcher, Workers};
use crate::{Environment, Format, Loaded, Problems, Sealed, from_args, load, load_from, parse};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// The directory of the example configurations.
fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

/// The example configurations.
fn examples() -> Vec<PathBuf> {
    let all = std::fs::read_dir(configs()).expect("the examples").flatten().map(|entry| entry.path());
    all.filter(|path| path.is_file()).collect()
}

/// Variables that the example configurations name.
struct Examples;

impl Environment for Examples {
    fn variable(&self, name: &str) -> Option<String> {
        let port = match name {
            "DEMO_LISTEN" => 8080,
            "DEMO_ADMIN" => 9901,
            "DEMO_A" => 9001,
            "DEMO_B" => 9002,
            "DEMO_C" => 9003,
            "ZONE" => return Some("eu-1a".to_owned()),
            "STICKY_SECRET" | "SERVICES_SECRET" | "INTROSPECTION_SECRET" => {
                return Some("thirty-two random bytes or more.".to_owned());
            }
            _ => return None,
        };
        Some(format!("127.0.0.1:{port}"))
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        crate::System.read(path, bytes_max)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        crate::System.list(directory)
    }
}

/// Files and variables out of a map.
struct Memory(HashMap<&'static str, String>);

impl Environment for Memory {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn read(&self, path: &Path, bytes_max: u64) -> io::Result<String> {
        let text = path.to_str().and_then(|path| self.0.get(path)).ok_or(io::ErrorKind::NotFound)?;
        if text.len() as u64 > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text.clone()) }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let inside = |path: &&str| Path::new(path).parent() == Some(directory);
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(self.0.keys().copied().filter(|path| inside(path)).map(name).collect())
    }
}

fn kdl(source: &str) -> Result<Loaded, Problems> {
    parse(source, "test.kdl", Format::Kdl, &Sealed)
}

fn good(loaded: Result<Loaded, Problems>) -> Loaded {
    loaded.unwrap_or_else(|problems| panic!("{problems}"))
}

fn again(config: &Config, environment: &dyn Environment) -> Loaded {
    good(parse(&config.to_json(), "test.json", Format::Json, environment))
}

const REST: &str =
    "upstream \"app\" { endpoint \"127.0.0.1:9001\"; }\nsite \"*\" { route \"/\" upstream=\"app\"; }\n";

#[test]
fn the_smallest_example_says_what_it_looks_like() {
    let loaded = good(load(&configs().join("minimal.kdl")));
    let config = loaded.config;
    assert_eq!(loaded.warnings, Vec::new());
    assert_eq!(config.listeners[0].binds[0].to_string(), "127.0.0.1:8080");
    assert_eq!(config.sites[0].routes[0].matcher, Matcher::Prefix("/".into()));
    assert_eq!(config.sites[0].routes[0].action, Action::Upstream("app".into()));
    assert_eq!((config.upstreams[0].origin.line, config.upstreams[0].origin.column), (12, 1));
}

#[test]
fn every_example_loads_without_a_warning_and_its_json_is_the_same_configuration() {
    let mut count = 0;
    for path in examples() {
        let loaded = good(load_from(&path, &Examples));
        assert_eq!(loaded.warnings, Vec::new(), "{}", path.display());
        let second = again(&loaded.config, &Examples);
        assert_eq!(second.config.to_value(), loaded.config.to_value(), "{}", path.display());
        assert_eq!(second.warnings, Vec::new(), "{}", path.display());
        assert_eq!(second.config.without_origins(), loaded.config.without_origins(), "{}", path.display());
        count += 1;
    }
    assert!(count >= 3, "only {count} examples");
}

#[test]
fn a_configuration_of_the_command_line_is_sound() {
    let address = |text: &str| text.parse().expect("an address");
    let config =
        from_args(&[address("127.0.0.1:8080")], &[address("127.0.0.1:9001"), address("127.0.0.1:9002")]);
    assert_eq!(config.problems(), Vec::new());
    assert_eq!(again(&config, &Sealed).config.to_value(), config.to_value());
    let circle = from_args(&[address("127.0.0.1:8080")], &[address("127.0.0.1:8080")]);
    assert_eq!(circle.problems().len(), 1, "it would forward to itself");
}

#[test]
fn problems_come_in_the_order_of_the_text() {
    let problems =
        kdl("site \"*\" { route \"/\" upstream=\"none\"; }\nlistener \"a\" { bnid \"x\" }\nworkers 0\n")
            .unwrap_err();
    let lines: Vec<u32> =
        problems.0.iter().filter_map(|problem| Some(problem.place.as_ref()?.line)).collect();
    assert_eq!(lines, [1, 2, 3], "{problems}");
}

#[test]
fn strings_from_outside_are_used_but_never_dumped() {
    let files = [
        ("TOKEN", "hunter2".to_owned()),
        ("dir/secret", "s3cret\r\n".to_owned()),
        ("BIND", "127.0.0.1:1".to_owned()),
    ];
    let environment = Memory(files.into());
    let source = format!(
        "listener \"web\" {{ bind (env)\"BIND\"; }}\n{REST}site \"a\" {{ route \"/\" upstream=\"app\" {{ headers {{ request \
         {{ set \"X-A\" (env)\"TOKEN\"; set \"X-B\" (file)\"secret\"; }}; }}; }}; }}\n"
    );
    let loaded = good(parse(&source, "dir/test.kdl", Format::Kdl, &environment));
    let set = &loaded.config.sites[1].routes[0].headers.request.set;
    assert_eq!((set[0].value.as_str(), set[1].value.as_str()), ("hunter2", "s3cret"));
    let dumps =
        [loaded.config.to_json(), format!("{:?}", loaded.config), loaded.config.effective().to_string()];
    for dump in dumps {
        assert!(!dump.contains("hunter2") && !dump.contains("s3cret"), "{dump}");
        assert!(dump.contains("TOKEN"), "{dump}");
    }
    let second = good(parse(&loaded.config.to_json(), "dir/test.json", Format::Json, &environment));
    assert_eq!(second.config.without_origins(), loaded.config.without_origins());
}

#[test]
fn a_text_from_the_network_reads_nothing_of_ours() {
    let source = "include \"/etc/passwd\"\nlistener \"a\" { bind (env)\"PATH\" (file)\"/etc/passwd\"; }\n";
    let problems = kdl(source).unwrap_err();
    assert_eq!(problems.errors(), 3, "{problems}");
}

#[test]
fn includes_are_read_in_the_order_of_their_names_and_keep_their_own_places() {
    let site = |name: &str| format!("site \"{name}\" {{ route \"/\" upstream=\"app\"; }}\n");
    let main = "include \"sites/*.kdl\"\nlistener \"a\" { bind \"127.0.0.1:1\"; }\nupstream \"app\" { endpoint \"127.0.0.1:2\"; }\n";
    let files = [
        ("etc/ringway.kdl", main.to_owned()),
        ("etc/sites/b.kdl", site("b")),
        ("etc/sites/a.kdl", site("a")),
        ("etc/sites/.hidden.kdl", "not kdl {".to_owned()),
        ("etc/sites/c.bak", "not kdl {".to_owned()),
    ];
    let loaded = good(load_from(Path::new("etc/ringway.kdl"), &Memory(files.into())));
    let origins: Vec<String> = loaded.config.sites.iter().map(|site| site.origin.to_string()).collect();
    assert_eq!(origins, ["etc/sites/a.kdl:1:1", "etc/sites/b.kdl:1:1"]);
}

#[test]
fn what_a_loader_reads_is_bounded() {
    let deep: HashMap<&'static str, String> =
        (0..20).map(|at| (&*format!("{at}.kdl").leak(), format!("include \"{}.kdl\"\n", at + 1))).collect();
    let problems = load_from(Path::new("0.kdl"), &Memory(deep)).unwrap_err();
    assert!(problems.to_string().contains("deeper than 8"), "{problems}");

    let wide =
        [("main.kdl", "include \"main.kdl.d/*\"\n".repeat(3)), ("main.kdl.d/big", "/".repeat(5 << 20))];
    let problems = load_from(Path::new("main.kdl"), &Memory(wide.into())).unwrap_err();
    assert!(problems.to_string().contains("is too large"), "{problems}");

    let many = kdl(&"wrong 1\n".repeat(5000)).unwrap_err();
    assert_eq!(many.0.len(), 201);

    let idle = format!("{REST}listener \"a\" {{ bind \"127.0.0.1:1\"; }}\n");
    let unused: String =
        (0..300).map(|at| format!("upstream \"u{at}\" {{ endpoint \"127.0.0.1:2\"; }}\n")).collect();
    assert_eq!(good(kdl(&(idle + &unused))).warnings.len(), 201, "warnings alone keep nothing from loading");
}

#[test]
fn hostile_nesting_and_repetition_are_refused_without_harm() {
    for unit in
        ["{", "a {", "/*", "(", "/-", "\"", "\"\"\"", "#\"", "\\", "a=", "[", "##", "\"\"\"\n", "\u{feff}"]
    {
        assert!(kdl(&unit.repeat(2000)).is_err(), "{unit:?}");
    }
    for deep in [format!("/*{}*/", "*".repeat(100_000)), "\"".repeat(100_000), "/*".repeat(100_000)] {
        assert!(kdl(&deep).is_err());
    }
    for unit in ["[", "{\"a\":", "\"", "\u{feff}{}", "-", "1e", "\\u"] {
        assert!(parse(&unit.repeat(20_000), "test.json", Format::Json, &Sealed).is_err(), "{unit:?}");
    }
}

#[test]
fn numbers_and_words_from_outside_are_read_as_such() {
    let environment = Memory([("N", "4".to_owned()), ("L", "127.0.0.1:80".to_owned())].into());
    let source = format!("workers (env)\"N\"\nlistener \"web\" {{ bind (env)\"L\"; }}\n{REST}");
    let loaded = good(parse(&source, "test.kdl", Format::Kdl, &environment));
    assert!(matches!(loaded.config.workers, Workers::Count(count) if count.get() == 4));
}

#[test]
fn formatting_changes_the_layout_and_nothing_else() {
    for path in examples() {
        let source = std::fs::read_to_string(path).expect("an example");
        let formatted = crate::format(&source, "test.kdl").unwrap_or_else(|problems| panic!("{problems}"));
        let before = good(parse(&source, "test.kdl", Format::Kdl, &Examples));
        let after = good(parse(&formatted, "test.kdl", Format::Kdl, &Examples));
        assert_eq!(after.config.without_origins(), before.config.without_origins());
        let comments = |text: &str| text.matches("//").count();
        assert_eq!(comments(&formatted), comments(&source), "comments stay");
        assert_eq!(
            crate::format(&formatted, "test.kdl"),
            Ok(formatted.clone()),
            "a second time changes nothing"
        );
    }
    assert!(crate::format("a {", "test.kdl").is_err());
}

#[test]
fn the_effective_configuration_names_every_value_and_its_place() {
    let source = "listener \"web\" {\n  bind \"127.0.0.1:1\"\n}\nupstream \"app\" {\n  endpoint \"127.0.0.1:2\"\n  timeouts { response-header \"7s\"; }\n}\n\
                  site \"*\" {\n  timeouts { total \"9s\"; }\n  route \"/\" upstream=\"app\"\n}\n";
    let effective = good(kdl(source)).config.effective();
    let of = |name: &str| {
        let found = effective.values.iter().find(|value| value.name == name);
        found.map(|value| (value.value.as_str(), value.from.as_str()))
    };
    assert_eq!(of("listener \"web\" bind"), Some(("\"127.0.0.1:1\"", "test.kdl:2:8")));
    assert_eq!(of("listener \"web\" timeouts header"), Some(("\"10s\"", "default")));
    assert_eq!(of("upstream \"app\" timeouts response-header"), Some(("\"7s\"", "test.kdl:6:30")));
    assert_eq!(of("site \"*\" route \"/\" timeouts total"), Some(("\"9s\"", "test.kdl:9:20")));
    assert_eq!(of("site \"*\" route \"/\" timeouts per-try"), Some(("\"off\"", "default")));
    assert_eq!(of("site \"*\" route \"/\" timeouts response-header"), Some(("\"7s\"", "test.kdl:6:30")));
    assert_eq!(of("workers"), Some(("\"auto\"", "default")));
}

#[test]
fn the_schema_knows_every_member_that_a_configuration_has() {
    let schema = crate::schema();
    let text = schema.to_string();
    let config = good(load_from(&configs().join("edge.kdl"), &Examples)).config.to_value();
    let mut keys = vec![&config];
    while let Some(value) = keys.pop() {
        match value {
            serde_json::Value::Object(members) => {
                for (key, member) in members {
                    assert!(text.contains(&format!("{key:?}:")), "{key} is not in the schema");
                    keys.push(member);
                }
            }
            serde_json::Value::Array(items) => keys.extend(items),
            _ => {}
        }
    }
    for definition in ["Listener", "Upstream", "Site", "Reference"] {
        assert!(schema.pointer(&format!("/$defs/{definition}")).is_some(), "{definition}");
    }
    assert_eq!(schema.pointer("/$defs/Listener/required"), Some(&serde_json::json!(["name", "bind"])));
}

#[test]
fn the_reference_has_every_word_of_the_grammar() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let reference = std::fs::read_to_string(path).expect("the reference");
    let has = |word: &str| {
        reference.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|part| part == word)
    };
    let mut nodes = vec![&crate::grammar::ROOT];
    while let Some(node) = nodes.pop() {
        for word in node.props {
            assert!(has(word), "{word} is not in docs/configuration.md");
        }
        for child in node.children {
            assert!(has(child.word), "{} is not in docs/configuration.md", child.word);
            if let Kind::One(inner) | Kind::Many(inner) = child.kind {
                nodes.push(inner);
            }
        }
    }
}

//! `ringway keys`: makes, lists and revokes API keys in the file that `keys { file … }` of a configuration names.
//!
//! The file is replaced in one step, and only one of these commands changes it at a time. A running Ringway sees the
//! change at its next reload.

use crate::args::{Keys, KeysCreate, KeysFile, KeysRevoke};
use crate::exit::{Exit, complain, print};
use auth::Pepper;
use config::{KEYS_FILE_BYTES_MAX, StoredKey};
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::SystemTime;

pub(crate) fn keys(args: &Keys) -> Exit {
    let done = match args {
        Keys::Create(args) => create(args),
        Keys::List(args) => list(args),
        Keys::Revoke(args) => revoke(args),
    };
    done.unwrap_or_else(|error| complain(Exit::Failed, error.what, error.next))
}

/// What went wrong, and what to do.
struct Trouble {
    what: String,
    next: Option<&'static str>,
}

fn trouble(what: impl Into<String>, next: Option<&'static str>) -> Trouble {
    Trouble { what: what.into(), next }
}

fn create(args: &KeysCreate) -> Result<Exit, Trouble> {
    let environment = &args.environment;
    if environment.is_empty() || !environment.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(trouble("the environment must be letters and digits", Some("write --environment live")));
    }
    let not_after_s = match &args.not_after {
        None => None,
        Some(text) => Some(config::parse_time(text).ok_or_else(|| {
            trouble(format!("\"{text}\" is no time"), Some("write --not-after 2027-01-31T00:00:00Z"))
        })?),
    };
    let pepper = match &args.pepper {
        None => None,
        // As `(file)` of the configuration reads it: without the last line end.
        Some(path) => Some(Pepper::new(read(path, 64 << 10)?.trim_end_matches(['\r', '\n']).as_bytes())),
    };
    let new = auth::generate_key(environment, pepper.as_ref())
        .ok_or_else(|| trouble("the machine has no random numbers", None))?;
    let hash = new.hash.to_text(pepper.is_some());
    // Eight digits of the hash: known to whoever has the file anyway, and as good as never taken.
    let digits = hash.rsplit(':').next().unwrap_or_default();
    let id = args.id.clone().unwrap_or_else(|| digits.chars().take(8).collect());
    let stored = StoredKey {
        id: id.clone(),
        consumer: args.consumer.clone(),
        hash,
        hint: Some(auth::key_hint(&new.key).to_owned()),
        groups: args.group.clone(),
        scopes: args.scope.clone(),
        not_after_s,
        disabled: false,
    };
    change(&args.file, true, |keys| {
        if keys.iter().any(|key| key.id == id) {
            return Err(trouble(format!("there is a key with the id \"{id}\""), Some("choose another --id")));
        }
        keys.push(stored);
        Ok(())
    })?;
    let key = &new.key;
    if args.json {
        return Ok(print(&format!("{}\n", json!({ "id": id, "key": key }))));
    }
    Ok(print(&format!("{key}\nid {id}; this is the only time that the key is shown. Next: ringway reload\n")))
}

fn list(args: &KeysFile) -> Result<Exit, Trouble> {
    let keys = stored(&args.file, &read(&args.file, KEYS_FILE_BYTES_MAX)?)?;
    let now_s = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let state = |key: &StoredKey| match key.not_after_s {
        _ if key.disabled => "revoked",
        Some(not_after) if not_after <= now_s => "expired",
        _ => "active",
    };
    if args.json {
        let all: Vec<_> = keys
            .iter()
            .map(|key| {
                json!({
                    "id": key.id, "state": state(key), "consumer": key.consumer, "hint": key.hint,
                    "groups": key.groups, "scopes": key.scopes, "not_after": key.not_after_s.map(config::print_time),
                })
            })
            .collect();
        return Ok(print(&format!("{}\n", json!({ "keys": all }))));
    }
    let mut text = String::new();
    for key in &keys {
        let hint = key.hint.as_ref().map_or(String::new(), |hint| format!("…{hint}"));
        let until = key.not_after_s.map_or_else(|| "-".to_owned(), config::print_time);
        let consumer = key.consumer.as_deref().unwrap_or("-");
        text += &format!("{:<16} {:<8} {consumer:<20} {hint:<8} {until}\n", key.id, state(key));
    }
    Ok(print(&text))
}

fn revoke(args: &KeysRevoke) -> Result<Exit, Trouble> {
    change(&args.file, false, |keys| {
        let Some(key) = keys.iter_mut().find(|key| key.id == args.id) else {
            let next = Some("`ringway keys list FILE` shows all of them");
            return Err(trouble(format!("no key with the id \"{}\"", args.id), next));
        };
        key.disabled = true;
        Ok(())
    })?;
    Ok(print(&format!("{} is revoked. Next: ringway reload\n", args.id)))
}

/// Changes the file in one step. Nobody ever sees half of it, and two commands cannot lose each other's change.
fn change(
    path: &Path,
    may_be_new: bool,
    edit: impl FnOnce(&mut Vec<StoredKey>) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let failed = |error: io::Error| trouble(format!("{}: {error}", path.display()), None);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The folder stays the same file when the file in it is replaced.
    let lock = File::open(folder).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let text = match read(path, KEYS_FILE_BYTES_MAX) {
        Err(_) if may_be_new && !path.exists() => String::new(),
        other => other?,
    };
    let mut keys = stored(path, &text)?;
    edit(&mut keys)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = folder.join(name);
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(failed)?;
    if let Ok(metadata) = std::fs::metadata(path) {
        file.set_permissions(metadata.permissions()).map_err(failed)?;
    }
    file.write_all(config::print_keys(&keys).as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&fresh, path).and_then(|()| lock.sync_all()).map_err(failed)
}

fn stored(path: &Path, text: &str) -> Result<Vec<StoredKey>, Trouble> {
    config::parse_keys(text).map_err(|error| trouble(format!("{}, {error}", path.display()), None))
}

fn read(path: &Path, bytes_max: u64) -> Result<String, Trouble> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_string(&mut text));
    match read {
        Ok(_) if text.len() as u64 > bytes_max => {
            Err(trouble(format!("{}: too large", path.display()), None))
        }
        Ok(_) => Ok(text),
        Err(error) => Err(trouble(format!("{}: {error}", path.display()), None)),
    }
}

//! How often callers may come.

use super::fields::is_token;
use super::{Decoder, Scope};
use crate::literal::{Literal, Misread};
use crate::model::{
    Limit, LimitAbsent, LimitFields, LimitKey, LimitKeys, LimitMode, LimitRate, LimitUnit, LimitUse,
    LimitWindow,
};
use crate::problem::Code;

const KEYS: u32 = 65_536;
const KEYS_RANGE: std::ops::RangeInclusive<u32> = 1024..=16_777_216;
const PARTS_MAX: usize = 8;
/// What only a limit of its own has.
const OWN: [&str; 14] = [
    "rate",
    "concurrent",
    "burst",
    "window",
    "key",
    "ipv4-prefix",
    "ipv6-prefix",
    "absent",
    "stage",
    "cost",
    "keys",
    "mode",
    "fields",
    "store",
];

impl Decoder<'_> {
    /// A limit at the top of the configuration.
    pub(super) fn limit(&mut self, scope: &Scope<'_>) -> Limit {
        if !scope.has("name") {
            self.missing(scope, "the limit has no name", "write limit \"name\" rate=\"50/s\"");
        }
        self.own_limit(scope)
    }

    /// What a site or a route is limited by.
    pub(super) fn limit_uses(&mut self, scope: &Scope<'_>) -> Vec<LimitUse> {
        let mut uses = Vec::new();
        for scope in scope.members("limit") {
            if OWN.iter().any(|member| scope.has(member)) {
                uses.push(LimitUse::Own(Box::new(self.own_limit(&scope))));
                continue;
            }
            match self.text(&scope, "name") {
                Some(name) => uses.push(LimitUse::Named { name, origin: self.origin(&scope) }),
                None => {
                    let hint = "write limit \"name\" of one at the top, or limit rate=\"50/s\"";
                    self.missing(&scope, "the limit says neither which nor how much", hint);
                }
            }
        }
        uses
    }

    fn own_limit(&mut self, scope: &Scope<'_>) -> Limit {
        let positive = |scope: &Scope<'_>, key: &str, decoder: &mut Self| {
            scope.scalar(key).and_then(|scalar| decoder.as_number(key, scalar, 1u32..=1_000_000_000))
        };
        let (rate, concurrent) =
            (self.literal::<LimitRate>(scope, "rate"), positive(scope, "concurrent", self));
        match (scope.has("rate"), scope.has("concurrent")) {
            (false, false) => {
                self.missing(scope, "the limit does not say how much", "add rate=\"50/s\" or concurrent=20");
            }
            (true, true) => {
                let hint = Some("write two limits".to_owned());
                self.error(Code::Contradiction, scope.object.span, "both rate and concurrent", hint);
            }
            _ => {}
        }
        Limit {
            name: scope.has("name").then(|| self.name(scope, "limit")),
            rate,
            concurrent,
            burst: positive(scope, "burst", self),
            window: self
                .literal(scope, "window")
                .or((!scope.has("concurrent")).then_some(LimitWindow::Bucket)),
            key: self.literal_or(scope, "key", LimitKeys(vec![LimitKey::ClientIp])),
            ipv4_prefix: self.number(scope, "ipv4-prefix", 1u8..=32, 32),
            ipv6_prefix: self.number(scope, "ipv6-prefix", 1u8..=128, 64),
            absent: self.literal_or(scope, "absent", LimitAbsent::Shared),
            stage: self.literal(scope, "stage"),
            cost: self.number(scope, "cost", 1u32..=1_000_000, 1),
            keys: self.number(scope, "keys", KEYS_RANGE, KEYS),
            mode: self.literal_or(scope, "mode", LimitMode::Enforce),
            fields: self.literal_or(scope, "fields", LimitFields::Standard),
            origin: self.origin(scope),
        }
    }
}

impl Literal for LimitRate {
    const EXPECTED: &'static str = "a rate such as \"50/s\", \"600/m\", \"1000/h\" or \"10000/d\"";

    fn read(text: &str) -> Result<Self, Misread> {
        let (count, unit) = text.split_once('/').ok_or(Misread::Form)?;
        let unit = LimitUnit::ALL.iter().find(|(_, name)| *name == unit).ok_or(Misread::Form)?.0;
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Misread::Form);
        }
        match count.parse::<u32>() {
            // Others take this for "unlimited", or for "nobody".
            Ok(0) => {
                Err(Misread::Because("0 would refuse everybody; use authorize or respond for that".into()))
            }
            Ok(count @ 1..=1_000_000_000) => Ok(LimitRate { count, per: unit }),
            _ => Err(Misread::Because("more than 1000000000".into())),
        }
    }
}

impl Literal for LimitKeys {
    const EXPECTED: &'static str = "\"client.ip\", \"consumer\", \"credential\", \"header:NAME\", \"claim:NAME\", \"host\", \
        \"method\", \"path\", \"route\" or \"everyone\", or several with commas between";

    fn read(text: &str) -> Result<Self, Misread> {
        let mut keys = Vec::new();
        for part in text.split(',') {
            let key = match part.split_once(':') {
                None => match part {
                    "client.ip" => LimitKey::ClientIp,
                    "consumer" => LimitKey::Consumer,
                    "credential" => LimitKey::Credential,
                    "host" => LimitKey::Host,
                    "method" => LimitKey::Method,
                    "path" => LimitKey::Path,
                    "route" => LimitKey::Route,
                    "everyone" => LimitKey::Everyone,
                    _ => return Err(Misread::Form),
                },
                Some(("header", name)) if is_token(name) => LimitKey::Header(name.to_owned()),
                Some(("claim", name)) if !name.is_empty() => LimitKey::Claim(name.to_owned()),
                _ => return Err(Misread::Form),
            };
            if keys.contains(&key) {
                return Err(Misread::Because(format!("\"{key}\" stands there twice")));
            }
            keys.push(key);
        }
        match keys.len() {
            2.. if keys.contains(&LimitKey::Everyone) => {
                Err(Misread::Because("\"everyone\" stands alone".into()))
            }
            0..=PARTS_MAX => Ok(LimitKeys(keys)),
            _ => Err(Misread::Because(format!("more than {PARTS_MAX} parts"))),
        }
    }
}

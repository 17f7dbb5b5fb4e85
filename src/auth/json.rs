//! Strict JSON (RFC 8259 within the bounds of I-JSON, RFC 7493): a member stands once, texts are whole, depth and size
//! are bounded. What two parsers could read in two ways is refused.

/// Objects and lists within each other.
pub const DEPTH_MAX: usize = 8;
/// Members of one object.
pub const MEMBERS_MAX: usize = 256;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Json {
    Null,
    Bool(bool),
    /// As it was written.
    Number(Box<str>),
    Text(Box<str>),
    List(Vec<Json>),
    Object(Object),
}

/// The members of an object, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object(Vec<(Box<str>, Json)>);

/// Why a text is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonError {
    /// Not JSON, at this byte.
    Syntax { at: usize },
    /// A name stands twice in one object.
    Duplicate,
    /// Deeper than [`DEPTH_MAX`].
    TooDeep,
    /// More members than [`MEMBERS_MAX`].
    TooMany,
}

impl Object {
    /// Reads a text that is one object.
    pub fn parse(text: &[u8]) -> Result<Object, JsonError> {
        let text =
            std::str::from_utf8(text).map_err(|error| JsonError::Syntax { at: error.valid_up_to() })?;
        let mut reader = Reader { text, at: 0 };
        reader.space();
        let object = match reader.value(0)? {
            Json::Object(object) => object,
            _ => return Err(JsonError::Syntax { at: 0 }),
        };
        reader.space();
        if reader.at == text.len() { Ok(object) } else { Err(reader.syntax()) }
    }

    /// The member of that name.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find(|(of, _)| &**of == name).map(|(_, value)| value)
    }

    /// The value that `path` names: a member of exactly that name, else one member per part between dots.
    pub fn at(&self, path: &str) -> Option<&Json> {
        if let Some(found) = self.get(path) {
            return Some(found);
        }
        let (first, rest) = path.split_once('.')?;
        match self.get(first)? {
            Json::Object(object) => object.at(rest),
            _ => None,
        }
    }

    /// The text of a member.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Json::as_text)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl Json {
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it says `wanted`: a text or a number that is written like it, a boolean of that name, or a list that has
    /// one of them.
    pub fn says(&self, wanted: &str) -> bool {
        match self {
            Json::Text(text) => &**text == wanted,
            Json::Number(number) => &**number == wanted,
            Json::Bool(value) => wanted == if *value { "true" } else { "false" },
            Json::List(items) => items.iter().any(|item| !matches!(item, Json::List(_)) && item.says(wanted)),
            Json::Null | Json::Object(_) => false,
        }
    }

    /// A text, or the texts of a list; empty for anything else, and when an item is no text.
    pub fn texts(&self) -> Vec<&str> {
        match self {
            Json::Text(text) => vec![text],
            Json::List(items) => items.iter().map(Json::as_text).collect::<Option<_>>().unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn syntax(&self) -> JsonError {
        JsonError::Syntax { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() != Some(byte) {
            return Err(self.syntax());
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        match self.peek() {
            Some(b'{') => self.object(depth + 1).map(Json::Object),
            Some(b'[') => self.list(depth + 1),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'n') => self.word("null", Json::Null),
            _ => Err(self.syntax()),
        }
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, JsonError> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.syntax());
        }
        self.at += word.len();
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Object, JsonError> {
        if depth > DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        self.expect(b'{')?;
        let mut members: Vec<(Box<str>, Json)> = Vec::new();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            if members.iter().any(|(other, _)| *other == name) {
                return Err(JsonError::Duplicate);
            }
            if members.len() == MEMBERS_MAX {
                return Err(JsonError::TooMany);
            }
            self.space();
            self.expect(b':')?;
            self.space();
            members.push((name, self.value(depth)?));
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break,
            }
        }
        self.expect(b'}')?;
        Ok(Object(members))
    }

    fn list(&mut self, depth: usize) -> Result<Json, JsonError> {
        if depth > DEPTH_MAX {
            return Err(JsonError::TooDeep);
        }
        self.expect(b'[')?;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::List(items));
        }
        loop {
            self.space();
            items.push(self.value(depth)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => break,
            }
        }
        self.expect(b']')?;
        Ok(Json::List(items))
    }

    fn number(&mut self) -> Result<Json, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let whole = self.digits()?;
        if whole > 1 && self.text.as_bytes()[self.at - whole] == b'0' {
            return Err(self.syntax());
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Json::Number(self.text[start..self.at].into()))
    }

    /// At least one; how many.
    fn digits(&mut self) -> Result<usize, JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.syntax()) } else { Ok(self.at - start) }
    }

    fn string(&mut self) -> Result<Box<str>, JsonError> {
        self.expect(b'"')?;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let end = rest.bytes().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            let end = end.ok_or(JsonError::Syntax { at: self.text.len() })?;
            text.push_str(&rest[..end]);
            self.at += end;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text.into());
                }
                Some(b'\\') => text.push(self.escape()?),
                // Control characters are escaped, or it is no JSON.
                _ => return Err(self.syntax()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        self.expect(b'\\')?;
        let letter = self.peek().ok_or(self.syntax())?;
        self.at += 1;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(),
            _ => return Err(self.syntax()),
        })
    }

    /// One character; halves of pairs alone are none.
    fn unicode(&mut self) -> Result<char, JsonError> {
        let first = self.four()?;
        if !(0xd800..0xdc00).contains(&first) {
            return char::from_u32(first).ok_or(self.syntax());
        }
        self.expect(b'\\')?;
        self.expect(b'u')?;
        let second = self.four()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(self.syntax());
        }
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(self.syntax())
    }

    fn four(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).ok_or(self.syntax())?;
        let mut value = 0;
        for &digit in digits {
            value = value << 4 | char::from(digit).to_digit(16).ok_or(self.syntax())?;
        }
        self.at += 4;
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Object, JsonError> {
        Object::parse(text.as_bytes())
    }

    #[test]
    fn values_of_every_kind_are_read() {
        let text = r#" {"a":"x\u00e9\ud83d\ude00\n","n":-12.5e+3,"z":0,"t":true,"f":false,"u":null,
            "l":[1,"two",[]],"o":{"p":{"q":"deep"}},"https://x/roles":["admin"]} "#;
        let object = read(text).unwrap();
        assert_eq!(object.text("a"), Some("xé😀\n"));
        assert_eq!(object.get("n"), Some(&Json::Number("-12.5e+3".into())));
        assert_eq!(object.at("o.p.q").and_then(Json::as_text), Some("deep"));
        assert!(object.at("https://x/roles").unwrap().says("admin"));
        assert!(object.get("l").unwrap().says("two") && object.get("l").unwrap().says("1"));
        assert!(object.get("t").unwrap().says("true") && !object.get("u").unwrap().says("null"));
        assert_eq!(object.at("o.x.q"), None);
        assert_eq!(object.at("a.b"), None);
    }

    #[test]
    fn what_is_not_strict_json_is_refused() {
        for text in [
            "",
            "[]",
            "1",
            "{",
            "}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{'a':1}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":1.}",
            "{\"a\":1e}",
            "{\"a\":NaN}",
            "{\"a\":tru}",
            "{\"a\":1}x",
            "{\"a\":\"\u{1}\"}",
            "{\"a\":\"\\x\"}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\ud800\\u0041\"}",
            "{\"a\":\"\\u12\"}",
            "{\"a\":\"x}",
            "{\"a\":[1,]}",
            "{\"a\":/**/1}",
            "\u{feff}{}",
            "{\"a\":1}{}",
        ] {
            assert!(matches!(read(text), Err(JsonError::Syntax { .. })), "{text:?}: {:?}", read(text));
        }
        assert_eq!(read("{\"a\":1,\"\\u0061\":2}"), Err(JsonError::Duplicate));
        assert_eq!(read(&format!("{}{}{}", "{\"a\":".repeat(9), 1, "}".repeat(9))), Err(JsonError::TooDeep));
        assert!(read(&format!("{}{}{}", "{\"a\":".repeat(8), 1, "}".repeat(8))).is_ok());
        assert_eq!(read(&format!("{{\"a\":{}}}", "[".repeat(100_000))), Err(JsonError::TooDeep));
        let many: Vec<String> = (0..257).map(|n| format!("\"{n}\":0")).collect();
        assert_eq!(read(&format!("{{{}}}", many.join(","))), Err(JsonError::TooMany));
        assert!(Object::parse(b"{\"a\":\"\xff\"}").is_err());
    }

    proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 512, failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "[{}\\[\\]\",:0-9a\\\\u-]{0,40}") {
            let _ = Object::parse(&bytes);
            let _ = Object::parse(text.as_bytes());
        }
    }
}

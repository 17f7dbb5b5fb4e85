//! The two text formats of Prometheus: 0.0.4 and OpenMetrics 1.0.
//!
//! Knows syntax only; which metrics there are says `metrics`. A family is opened once and then gets its samples: both
//! formats want them together.

use std::fmt::Write;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    OpenMetrics,
}

impl Format {
    /// OpenMetrics if the `Accept` field names it, whatever its weight: who names it can read it.
    pub(crate) fn negotiate(accept: &str) -> Format {
        let named = accept.split(',').any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or("");
            kind.eq_ignore_ascii_case("application/openmetrics-text")
                && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0f32)))
        });
        if named { Format::OpenMetrics } else { Format::Text }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What the numbers of a family mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Grows until the process ends; its name is given without `_total`.
    Counter,
    Gauge,
    Histogram,
}

/// Name and value of a label.
pub(super) type Label<'a> = (&'a str, &'a str);

/// A document that is being written.
#[derive(Debug)]
pub(super) struct Exposition {
    format: Format,
    out: String,
}

impl Exposition {
    pub(super) fn new(format: Format) -> Self {
        Exposition { format, out: String::with_capacity(16 << 10) }
    }

    /// Opens a family. `name` has the unit last and no `_total`; `help` is one sentence without line breaks.
    pub(super) fn family<'e>(&'e mut self, name: &'e str, kind: Kind, help: &str) -> Family<'e> {
        // The older format knows a counter by the name of its samples, the newer one by the name of the family.
        let total = if kind == Kind::Counter && self.format == Format::Text { "_total" } else { "" };
        let kind_name = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        self.write(format_args!("# HELP {name}{total} {help}\n# TYPE {name}{total} {kind_name}\n"));
        Family { exposition: self, name, kind }
    }

    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _ = self.out.write_fmt(text);
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[&[Label<'_>]], value: Value) {
        self.out.push_str(name);
        self.out.push_str(suffix);
        let mut opened = false;
        for (label, text) in labels.iter().copied().flatten() {
            self.out.push(if opened { ',' } else { '{' });
            opened = true;
            self.out.push_str(label);
            self.out.push_str("=\"");
            self.escaped(text);
            self.out.push('"');
        }
        if opened {
            self.out.push('}');
        }
        match value {
            Value::Whole(value) => self.write(format_args!(" {value}\n")),
            Value::Real(value) => self.write(format_args!(" {value}\n")),
        }
    }

    /// Label values come from the configuration, but nothing in them may end the value or the line (R148).
    fn escaped(&mut self, text: &str) {
        for char in text.chars() {
            match char {
                '\\' => self.out.push_str("\\\\"),
                '"' => self.out.push_str("\\\""),
                '\n' => self.out.push_str("\\n"),
                char => self.out.push(char),
            }
        }
    }
}

/// A family that is being written.
#[derive(Debug)]
pub(super) struct Family<'e> {
    exposition: &'e mut Exposition,
    name: &'e str,
    kind: Kind,
}

impl Family<'_> {
    /// One whole number.
    pub(super) fn whole(&mut self, labels: &[Label<'_>], value: u64) {
        self.sample(labels, Value::Whole(value));
    }

    /// One number with a fraction, in the base unit (seconds).
    pub(super) fn real(&mut self, labels: &[Label<'_>], value: f64) {
        self.sample(labels, Value::Real(value));
    }

    fn sample(&mut self, labels: &[Label<'_>], value: Value) {
        let suffix = if self.kind == Kind::Counter { "_total" } else { "" };
        self.exposition.sample(self.name, suffix, &[labels], value);
    }

    /// One histogram: how many values are at most each bound (in seconds, ascending), how many there are, their sum.
    pub(super) fn histogram(&mut self, labels: &[Label<'_>], buckets: &[(f64, u64)], count: u64, sum: f64) {
        for (bound, at_most) in buckets {
            let bound = bound.to_string();
            self.exposition.sample(
                self.name,
                "_bucket",
                &[labels, &[("le", &bound)]],
                Value::Whole(*at_most),
            );
        }
        self.exposition.sample(self.name, "_bucket", &[labels, &[("le", "+Inf")]], Value::Whole(count));
        self.exposition.sample(self.name, "_count", &[labels], Value::Whole(count));
        self.exposition.sample(self.name, "_sum", &[labels], Value::Real(sum));
    }
}

#[derive(Clone, Copy, Debug)]
enum Value {
    Whole(u64),
    Real(f64),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(format: Format) -> String {
        let mut out = Exposition::new(format);
        let mut requests = out.family("ringway_requests", Kind::Counter, "Requests.");
        requests.whole(&[("route", "a\"b\\c\nd"), ("code", "2xx")], 3);
        requests.whole(&[], 4);
        let mut times = out.family("ringway_request_seconds", Kind::Histogram, "Time.");
        times.histogram(&[("route", "r")], &[(0.000_064, 1), (0.5, 2)], 3, 1.25);
        out.finish()
    }

    #[test]
    fn both_formats_name_counters_their_way_and_escape_labels() {
        let text = document(Format::Text);
        assert_eq!(
            text,
            "# HELP ringway_requests_total Requests.\n\
             # TYPE ringway_requests_total counter\n\
             ringway_requests_total{route=\"a\\\"b\\\\c\\nd\",code=\"2xx\"} 3\n\
             ringway_requests_total 4\n\
             # HELP ringway_request_seconds Time.\n\
             # TYPE ringway_request_seconds histogram\n\
             ringway_request_seconds_bucket{route=\"r\",le=\"0.000064\"} 1\n\
             ringway_request_seconds_bucket{route=\"r\",le=\"0.5\"} 2\n\
             ringway_request_seconds_bucket{route=\"r\",le=\"+Inf\"} 3\n\
             ringway_request_seconds_count{route=\"r\"} 3\n\
             ringway_request_seconds_sum{route=\"r\"} 1.25\n"
        );
        let open = document(Format::OpenMetrics);
        assert!(
            open.starts_with("# HELP ringway_requests Requests.\n# TYPE ringway_requests counter\n"),
            "{open}"
        );
        assert!(open.contains("ringway_requests_total 4\n"));
        assert!(open.ends_with("# EOF\n"));
    }

    #[test]
    fn the_newer_format_is_for_those_who_name_it() {
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/plain;version=0.0.4", Format::Text),
            ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3", Format::OpenMetrics),
            ("text/plain, Application/OpenMetrics-Text", Format::OpenMetrics),
            ("application/openmetrics-text;q=0, text/plain", Format::Text),
        ] {
            assert_eq!(Format::negotiate(accept), format, "{accept}");
        }
    }
}

//! Samples as Markdown.

use std::fmt::Write;

use crate::workload::Sample;

/// All runs of one contender.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// By round.
    pub(crate) samples: Vec<Sample>,
}

/// What idle connections cost one contender.
pub(crate) struct IdleRow {
    pub(crate) name: &'static str,
    /// Growth of the proportional set size per connection.
    pub(crate) bytes: u64,
}

/// A table of CPU times; ratios are to the first row.
pub(crate) fn costs(title: &str, rows: &[Row]) -> String {
    let mut text = format!("## {title}\n\n");
    text += "| contender | runs | CPU us/request: median | min | ratio | per round | requests/s | p99 ms | \
             foreign cores | errors |\n|---|---:|---:|---:|---:|---|---:|---:|---:|---:|\n";
    let Some(base) = rows.first() else { return text };
    for row in rows {
        let ratios: Vec<f64> =
            row.samples.iter().zip(&base.samples).map(|(own, base)| own.cpu_us / base.cpu_us).collect();
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        let of = |value: fn(&Sample) -> f64| row.samples.iter().map(value).collect::<Vec<f64>>();
        let _ = writeln!(
            text,
            "| {} | {} | {:.2} | {:.2} | {:.2} | {} | {:.0} | {:.2} | {:.2} | {} |",
            row.name,
            row.samples.len(),
            median(of(|sample| sample.cpu_us)),
            of(|sample| sample.cpu_us).into_iter().fold(f64::INFINITY, f64::min),
            median(ratios),
            each.join(" "),
            median(of(|sample| sample.rate)),
            median(of(|sample| sample.p99_us)) / 1e3,
            median(of(|sample| sample.foreign)),
            row.samples.iter().map(|sample| sample.errors).sum::<u64>(),
        );
    }
    if rows.iter().any(|row| median(row.samples.iter().map(|s| s.foreign).collect()) > DISTURBED) {
        text += DISTURBED_NOTE;
    }
    text + "\n"
}

/// Cores that others kept busy, above which a table is no evidence.
const DISTURBED: f64 = 0.3;

const DISTURBED_NOTE: &str = "\nDisturbed: others used the cores of server and load generator, which makes batches larger and \
    levels differences. Rows with many foreign cores are no evidence.\n";

/// The table of idle connections.
pub(crate) fn idle(connections: usize, rows: &[IdleRow]) -> String {
    let mut text = format!("## memory per idle connection of the proxy, {connections} connections\n\n");
    text += "Pages that were touched count. monoio and tokio-uring lend a buffer of 16 KiB to each pending read, of which a \
             small request touches a quarter; once a large body has been through it, it counts whole.\n\n";
    text += "| contender | bytes |\n|---|---:|\n";
    for row in rows {
        let _ = writeln!(text, "| {} | {} |", row.name, row.bytes);
    }
    text
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    match (values.get(half), values.len() % 2) {
        (None, _) => f64::NAN,
        (Some(middle), 1) => *middle,
        (Some(upper), _) => (values[half - 1] + upper) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(vec![9.0, 1.0, 3.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }
}

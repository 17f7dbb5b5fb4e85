//! `ringway config fmt`: the same KDL text, laid out evenly.
//!
//! Works on lines, not on the parsed document, so that comments stay where they are: four spaces per level, no space at
//! the end of a line, at most one empty line in a row, none behind an opening brace.

use crate::problem::{Code, Problems};
use crate::read::{Format, Scan};

const INDENT: &str = "    ";

/// Lays a KDL text out. What the text means does not change; one that is not KDL is refused.
pub fn format(source: &str, name: &str) -> Result<String, Problems> {
    if let Err(problems) = crate::parse(source, name, Format::Kdl, &crate::Sealed)
        && problems.0.iter().any(|problem| matches!(problem.code, Code::Syntax | Code::Limit))
    {
        return Err(problems);
    }
    Ok(laid_out(source))
}

fn laid_out(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut scan = Scan::new(source);
    let mut at_start = true;
    let mut continues = false;
    let mut empty_lines = 0;
    while scan.at < source.len() {
        let (from, depth) = (scan.at, scan.depth);
        // `parse` has accepted the text, so that no bound of the scanner is exceeded.
        let _ = scan.token(Format::Kdl);
        let Some(token) = source.get(from..scan.at.min(source.len())) else {
            // One byte of a longer character: take the whole of it.
            while !source.is_char_boundary(scan.at) {
                scan.at += 1;
            }
            out.push_str(&source[from..scan.at]);
            continue;
        };
        match token {
            "\n" if at_start => empty_lines += 1,
            "\n" => {
                out.truncate(out.trim_end_matches([' ', '\t', '\r']).len());
                continues = out.ends_with('\\');
                out.push('\n');
                at_start = true;
            }
            " " | "\t" | "\r" if at_start => {}
            token => {
                if at_start {
                    if empty_lines > 0 && !out.is_empty() && !out.ends_with("{\n") && token != "}" {
                        out.push('\n');
                    }
                    let closes = usize::from(token == "}");
                    out.push_str(&INDENT.repeat(depth - closes.min(depth) + usize::from(continues)));
                }
                (at_start, empty_lines) = (false, 0);
                out.push_str(token);
            }
        }
    }
    out.truncate(out.trim_end().len());
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::laid_out;

    #[test]
    fn lines_move_and_their_content_stays() {
        let ragged = "\n\na   {\n\n  b \"x  y\"   // ä  \n\n\n\n\t\tc { d; }\n\n}\ne \\\n1 \"\"\"\n  kept\n    as it is\n  \"\"\"\n";
        let even = "a   {\n    b \"x  y\"   // ä\n\n    c { d; }\n}\ne \\\n    1 \"\"\"\n  kept\n    as it is\n  \"\"\"\n";
        assert_eq!(laid_out(ragged), even);
        assert_eq!(laid_out(even), even);
    }
}

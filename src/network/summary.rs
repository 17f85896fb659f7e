//! The summary table, in the manner of Keras: layer, output shape, parameters.

use super::{Network, Row, Shape};

pub fn table(network: &Network, rows: &[Row]) -> String {
    let header = ["Layer".to_string(), "Output shape".to_string(), "Parameters".to_string()];
    let cells: Vec<[String; 3]> = rows
        .iter()
        .map(|row| {
            [
                format!("{}{}  {}", "  ".repeat(row.depth), last_part(&row.path), row.layer),
                row.output.to_string(),
                thousands(row.parameters + row.statistics),
            ]
        })
        .collect();
    let width = |column: usize| {
        cells.iter().chain([&header]).map(|row| row[column].chars().count()).max().unwrap_or_default()
    };
    let widths = [width(0), width(1), width(2)];
    let line = |row: &[String; 3]| {
        format!(
            "{:<a$}   {:<b$}   {:>c$}\n",
            row[0],
            row[1],
            row[2],
            a = widths[0],
            b = widths[1],
            c = widths[2]
        )
    };
    let rule = "-".repeat(widths.iter().sum::<usize>() + 6) + "\n";

    let trainable: i64 = rows.iter().map(|row| row.parameters).sum();
    let statistics: i64 = rows.iter().map(|row| row.statistics).sum();
    let mut text =
        format!("Network {:?}, input {}\n{rule}", network.name, Shape(network.input_shape.to_vec()));
    text.push_str(&line(&header));
    text.push_str(&rule);
    cells.iter().for_each(|row| text.push_str(&line(row)));
    text.push_str(&rule);
    text.push_str(&format!(
        "Total: {}   Trainable: {}   Batch-norm statistics: {}",
        thousands(trainable + statistics),
        thousands(trainable),
        thousands(statistics)
    ));
    text
}

/// `body.0` for `4.body.0`: where a row stands within its block.
fn last_part(path: &str) -> &str {
    let mut dots = path.rmatch_indices('.').map(|(at, _)| at);
    dots.nth(1).map_or(path, |at| &path[at + 1..])
}

fn thousands(number: i64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 2778314].map(thousands), ["0", "999", "1,000", "2,778,314"]);
    }

    #[test]
    fn paths_shrink_to_their_place_in_the_block() {
        assert_eq!(["3", "3.body.0", "3.body.1.shortcut.2"].map(last_part), ["3", "body.0", "shortcut.2"]);
    }
}

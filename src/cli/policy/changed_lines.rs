//! What changed between two versions of a policy's text, line by line.

/// Most lines of a text that are compared; of longer ones both are shown whole.
const MAX_LINES: usize = 400;

/// The lines that are gone with `-`, those that are new with `+`, and those between, indented.
pub(super) fn changed_lines(before: &str, now: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (before.lines().collect(), now.lines().collect());
    let mut out = String::new();
    let mut line = |sign: char, text: &str| out.push_str(&format!("    {sign} {}\n", text.trim_end()));
    if a.len() > MAX_LINES || b.len() > MAX_LINES {
        a.iter().for_each(|text| line('-', text));
        b.iter().for_each(|text| line('+', text));
        return out;
    }
    let common = common(&a, &b);
    let at = |i: usize, j: usize| common.get(i).and_then(|row| row.get(j)).copied().unwrap_or(0);
    let (mut i, mut j) = (0, 0);
    loop {
        match (a.get(i), b.get(j)) {
            (Some(old), Some(new)) if old == new => {
                line(' ', old);
                (i, j) = (i + 1, j + 1);
            }
            (Some(old), new) if new.is_none() || at(i + 1, j) >= at(i, j + 1) => {
                line('-', old);
                i += 1;
            }
            (_, Some(new)) => {
                line('+', new);
                j += 1;
            }
            (_, None) => return out,
        }
    }
}

/// How many lines the texts have in common, from each pair of places on.
fn common(a: &[&str], b: &[&str]) -> Vec<Vec<usize>> {
    let mut rows = vec![vec![0; b.len() + 1]];
    for x in a.iter().rev() {
        let below = rows.last().cloned().unwrap_or_default();
        let mut row = vec![0; b.len() + 1];
        for (j, y) in b.iter().enumerate().rev() {
            let cell = |row: &[usize], at: usize| row.get(at).copied().unwrap_or(0);
            let most = if x == y { cell(&below, j + 1) + 1 } else { cell(&below, j).max(cell(&row, j + 1)) };
            if let Some(slot) = row.get_mut(j) {
                *slot = most;
            }
        }
        rows.push(row);
    }
    rows.reverse();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_and_what_is_new_is_told_in_order() {
        assert_eq!(changed_lines("a\nb\nc", "a\nx\nc\nd"), "      a\n    - b\n    + x\n      c\n    + d\n");
        assert_eq!(changed_lines("", "a"), "    + a\n");
        assert_eq!(changed_lines("a", ""), "    - a\n");
        let long = "x\n".repeat(500);
        assert_eq!(changed_lines(&long, "y").lines().count(), 501);
    }
}

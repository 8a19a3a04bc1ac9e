//! Text of a stranger's choice, as people are shown it: what a terminal would act on, what turns the text around, and
//! what nobody would see is written out, so that what is read is all that there is.

/// Whether `c` has no shape of its own on a terminal or in an editor: controls, marks that turn the direction of text,
/// breaks of lines, and what Unicode calls ignorable (DerivedCoreProperties.txt, Default_Ignorable_Code_Point), the
/// tag characters among them, in which whole sentences hide.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// `text` with what is unseen written out (`\u{1b}`). Line feeds and tabs stay.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(c),
            c if is_unseen(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// `text` with a mark of the same length in the place of each unseen character, so that what points into it still does.
/// Line breaks and tabs stay.
pub fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let ends_line = c == '\r' && chars.peek() == Some(&'\n');
        out.push(match c.len_utf8() {
            _ if ends_line || matches!(c, '\n' | '\t') || !is_unseen(c) => c,
            1 => '?',
            2 => '\u{bf}',
            3 => char::REPLACEMENT_CHARACTER,
            _ => '\u{1f6c7}',
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_would_see_is_written_out_and_the_rest_stays_as_it_is() {
        assert_eq!(visible("it's \"plain\"\n\tü ✓"), "it's \"plain\"\n\tü ✓");
        let hidden = "a\u{1b}[2J\rb\u{9b}1m\u{202e}c\u{200b}\u{2066}\u{e0041}\u{3164}\u{fe0f}\u{2028}";
        let shown = visible(hidden);
        assert_eq!(
            shown,
            r"a\u{1b}[2J\u{d}b\u{9b}1m\u{202e}c\u{200b}\u{2066}\u{e0041}\u{3164}\u{fe0f}\u{2028}"
        );
        assert!(!shown.chars().any(is_unseen));
    }

    #[test]
    fn a_masked_text_has_every_other_character_at_its_place() {
        let text = "permit\r\n\u{1b}[8mx\u{ad}y\u{202e}z\u{e0041}end\r";
        let shown = masked(text);
        assert_eq!(shown.len(), text.len());
        assert_eq!(shown.find("end"), text.find("end"));
        assert_eq!(shown, "permit\r\n?[8mx\u{bf}y\u{fffd}z\u{1f6c7}end?");
    }
}

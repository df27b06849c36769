//! Commands as a person pastes them into a shell.

/// A word of a command, in quotes where it needs them.
pub fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./=,:+-".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.into()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_shell_would_change_is_quoted() {
        assert_eq!(quoted("dec=2..16,enc0=8"), "dec=2..16,enc0=8");
        assert_eq!(quoted("my plan's.json"), r"'my plan'\''s.json'");
        assert_eq!(quoted("dec*=2"), "'dec*=2'");
        assert_eq!(quoted(""), "''");
    }
}

//! Values as people read them, and safe within HTML. Pure.

use alloy_primitives::U256;
use std::fmt::{self, Display, Formatter, Write};

/// Any value as text of an HTML document or of a quoted attribute: what has a meaning there is escaped.
pub(super) struct Text<T>(pub(super) T);

impl<T: Display> Display for Text<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'b>(&'a mut Formatter<'b>);

impl Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(['&', '<', '>', '"', '\'']) {
            let mut plain = part.chars();
            let escaped = match plain.next_back() {
                Some('&') => "&amp;",
                Some('<') => "&lt;",
                Some('>') => "&gt;",
                Some('"') => "&quot;",
                Some('\'') => "&#39;",
                _ => {
                    self.0.write_str(part)?;
                    continue;
                }
            };
            self.0.write_str(plain.as_str())?;
            self.0.write_str(escaped)?;
        }
        Ok(())
    }
}

/// Wei in ether, to the gwei; what is less than that in wei.
pub(super) struct Ether(pub(super) U256);

impl Display for Ether {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let gwei = U256::from(1_000_000_000);
        let (whole, rest) = (self.0.checked_div(gwei), self.0.checked_rem(gwei));
        let (Some(whole), Some(rest)) = (whole, rest) else { return Ok(()) };
        if whole.is_zero() && !rest.is_zero() {
            return write!(f, "{rest} wei");
        }
        let (ether, part) = (whole.checked_div(gwei), whole.checked_rem(gwei));
        let (Some(ether), Some(part)) = (ether, part) else { return Ok(()) };
        let digits = format!("{part:09}");
        match digits.trim_end_matches('0') {
            "" => write!(f, "{ether} ETH"),
            digits => write!(f, "{ether}.{digits} ETH"),
        }
    }
}

/// Time of day in UTC, of Unix milliseconds.
pub(super) struct Clock(pub(super) u64);

impl Display for Clock {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1000 % 86_400;
        write!(f, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_by_table() {
        let ether = |wei: &str| Ether(wei.parse().unwrap()).to_string();
        assert_eq!(ether("0"), "0 ETH");
        assert_eq!(ether("20"), "20 wei");
        assert_eq!(ether("999999999"), "999999999 wei");
        assert_eq!(ether("1000000000"), "0.000000001 ETH");
        assert_eq!(ether("232298000000000"), "0.000232298 ETH");
        assert_eq!(ether("1000000000000000000"), "1 ETH");
        assert_eq!(ether("12500000000000000001"), "12.5 ETH");
        assert_eq!(Clock(1_700_000_000_999).to_string(), "22:13:20");
        assert_eq!(Clock(0).to_string(), "00:00:00");
        let hostile = "<script>alert(\"1\" & '2')</script>";
        let safe = "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;";
        assert_eq!(Text(hostile).to_string(), safe);
        assert_eq!(Text(7).to_string(), "7");
        assert_eq!(Text("ü✓").to_string(), "ü✓");
    }

    proptest! {
        #[test]
        fn nothing_of_a_text_has_a_meaning_in_html(text in ".*") {
            let safe = Text(&text).to_string();
            prop_assert!(!safe.contains(['<', '>', '"', '\'']));
            let read = safe.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&#39;", "'");
            prop_assert_eq!(read.replace("&amp;", "&"), text);
        }
    }
}

//! Times as people read them.

/// A time in Unix seconds as `2026-11-26 09:41:37 UTC`.
#[must_use]
pub fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let Some((year, month, day)) = civil(days) else { return format!("{seconds} s after 1970") };
    let (hour, minute, second) = (rest / 3_600, rest % 3_600 / 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// A span of seconds, to two units: `6 d 23 h`, `4 min 10 s`.
#[must_use]
pub fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds % 86_400 / 3_600, seconds % 3_600 / 60);
    match (days, hours, minutes, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, ..) => format!("{days} d {hours} h"),
    }
}

/// A time with what is left until it: `2026-11-26 09:41:37 UTC (in 6 d 23 h)`.
#[must_use]
pub fn ahead(time: u64, now: u64) -> String {
    match time.checked_sub(now) {
        Some(left) if left > 0 => format!("{} (in {})", utc(time), span(left)),
        _ => utc(time),
    }
}

/// Year, month and day of a day after 1970-01-01, by the Gregorian calendar (Hinnant's `civil_from_days`); none beyond the
/// year 9999.
fn civil(days: u64) -> Option<(u64, u64, u64)> {
    // From 0000-03-01: a year then ends with its leap day.
    let days = days.checked_add(719_468)?;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leaps = day_of_era / 1_460;
    let centuries = day_of_era / 36_524;
    let cycle = day_of_era / 146_096;
    let year_of_era =
        day_of_era.checked_sub(leaps)?.checked_add(centuries)?.checked_sub(cycle)?.checked_div(365)?;
    let before = year_of_era.checked_mul(365)?.checked_add(year_of_era / 4)?;
    let day_of_year = day_of_era.checked_sub(before.checked_sub(year_of_era / 100)?)?;
    let shifted = day_of_year.checked_mul(5)?.checked_add(2)? / 153;
    let past = shifted.checked_mul(153)?.checked_add(2)? / 5;
    let day = day_of_year.checked_sub(past)?.checked_add(1)?;
    let month = if shifted < 10 { shifted.checked_add(3)? } else { shifted.checked_sub(9)? };
    let year = era.checked_mul(400)?.checked_add(year_of_era)?.checked_add(u64::from(month <= 2))?;
    (year <= 9_999).then_some((year, month, day))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_are_written_as_people_read_them() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00 UTC");
        assert_eq!(utc(1_795_686_097), "2026-11-26 09:41:37 UTC");
        assert_eq!(utc(u64::MAX), format!("{} s after 1970", u64::MAX));
        assert_eq!((span(0).as_str(), span(250).as_str()), ("0 s", "4 min 10 s"));
        assert_eq!((span(7_260).as_str(), span(604_799).as_str()), ("2 h 1 min", "6 d 23 h"));
        assert_eq!(ahead(100, 40), format!("{} (in 1 min 0 s)", utc(100)));
        assert_eq!(ahead(100, 100), utc(100));
    }

    proptest! {
        #[test]
        fn a_day_follows_the_one_before(day in 0_u64..2_000_000) {
            let (one, next) = (civil(day).unwrap(), civil(day + 1).unwrap());
            let (year, month, date) = one;
            let same_month = next == (year, month, date + 1);
            let next_month = next == (year, month + 1, 1) || (month == 12 && next == (year + 1, 1, 1));
            prop_assert!(same_month || (date >= 28 && next_month), "{one:?} {next:?}");
        }
    }
}

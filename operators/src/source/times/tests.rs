//! Tests of times: exact moments, and agreement with chrono on any moment in any form.

use super::*;
use chrono::{DateTime, Datelike, NaiveDate, TimeZone, Timelike, Utc};
use proptest::prelude::*;

const FIRST_MINUTE: i64 = 1_646_352_060_000;

fn plain(text: &str) -> Result<i64, TimeError> {
    TimeReader::default().text(text)
}

fn form(unit: Option<EpochUnit>, format: Option<&str>, timezone: Option<&str>) -> TimeForm {
    TimeForm { unit, format: format.map(str::to_owned), timezone: timezone.map(str::to_owned) }
}

fn reader(unit: Option<EpochUnit>, format: Option<&str>, timezone: Option<&str>) -> TimeReader {
    TimeReader::new(&form(unit, format, timezone)).expect("a form")
}

#[test]
fn times_in_their_usual_forms() {
    assert_eq!(plain("1970-01-01 00:00:00"), Ok(0));
    assert_eq!(plain("2022-03-04 00:00:01"), Ok(1_646_352_001_000));
    assert_eq!(plain("2022-03-04T00:00:01Z"), Ok(1_646_352_001_000));
    assert_eq!(plain("2022-03-04T00:00:01.25Z"), Ok(1_646_352_001_250));
    assert_eq!(plain("2022-03-04 00:00:01.999999999"), Ok(1_646_352_001_999));
    assert_eq!(plain("2022-03-04T02:00:01+02:00"), Ok(1_646_352_001_000));
    assert_eq!(plain("2022-03-03T22:30:01.5-01:30"), Ok(1_646_352_001_500));
    assert_eq!(plain("9999-12-31 23:59:59.999"), Ok(253_402_300_799_999));
    assert_eq!(plain("1969-12-31 23:59:59"), Ok(-1_000));
    assert_eq!(plain("2000-02-29 00:00:00"), Ok(951_782_400_000));
    assert_eq!(TimeReader::default().day("1970-01-02"), Ok(1));
}

#[test]
fn times_as_other_programs_write_them() {
    let forms = [
        "2022-03-04T00:01",
        "2022-03-04 00:01",
        "2022-03-04T00:01Z",
        "2022-03-04t00:01:00z",
        "2022-03-04T00:01:00+0000",
        "2022-03-04 00:01:00+00",
        "2022-03-04 00:01:00-00",
        "2022-03-04 09:01:00+09",
        "2022-03-04T09:01+0900",
        "2022-03-04 00:01:00 UTC",
        "2022-03-04 00:01:00 utc",
        "2022-03-04 00:01:00UTC",
        "2022-03-04 00:01:00 GMT",
        "2022-03-04 00:01:00 Z",
        "2022-03-04 00:01:00 +0000",
        "2022-03-04 00:01:00 +00:00",
        "2022-03-04 00:01:00.000000 +0000 UTC",
        "2022-03-04 01:01:00.0 +0100 CET",
        "2022-03-04T00:01:00,000",
        "2022-03-04T00:01:00,000000000Z",
        "2022-03-04T00:01:00Z[UTC]",
        "2022-03-04T01:01:00+01:00[Europe/Paris]",
        "2022-03-04T01:01+01:00[Europe/Paris]",
        "2022-03-04T01:01[Europe/Paris]",
        "2022/03/04 00:01:00",
        "20220304T000100Z",
        "20220304T0001",
        "20220304T010100+0100",
        "Fri, 04 Mar 2022 00:01:00 GMT",
        "Fri, 4 Mar 2022 00:01:00 +0000",
        "4 Mar 2022 00:01:00 +0000",
        "  2022-03-04T00:01:00Z ",
        "1646352060000",
    ];
    for text in forms {
        assert_eq!(plain(text), Ok(FIRST_MINUTE), "{text}");
    }
    assert_eq!(plain("2022-03-04T00:01:00,250"), Ok(FIRST_MINUTE + 250));
    assert_eq!(plain("2022-03-04T00:01:00.123456789+0000"), Ok(FIRST_MINUTE + 123));
    assert_eq!(plain("2022-03-04T00:01:00.1 UTC"), Ok(FIRST_MINUTE + 100));
}

#[test]
fn what_does_not_exist_is_said_in_words() {
    let reason = |text: &str| plain(text).expect_err("no such time").to_string();
    assert_eq!(reason("2022-02-31 00:00:00"), "there is no day 31 in February 2022, which has 28 days");
    assert_eq!(reason("2022-13-01 00:00:00"), "there is no month 13");
    assert_eq!(reason("2022-00-01 00:00:00"), "there is no month 00");
    assert_eq!(reason("2022-01-01 24:00:00"), "hour 24 is not between 00 and 23");
    assert_eq!(reason("2022-01-01 00:60"), "minute 60 is not between 00 and 59");
    assert_eq!(reason("2022-01-01 23:59:60"), "second 60 is not between 00 and 59");
    assert_eq!(reason("1900-02-29 00:00:00"), "there is no day 29 in February 1900, which has 28 days");
    for text in ["", "yesterday", "03/04/2022 00:00:01", "2022-3-4 00:00:01", "04/Mar/2022:00:01:00 +0000", "12:00"] {
        assert!(reason(text).starts_with("it should look like"), "{text}: {}", reason(text));
    }
    for rest in [".", ".1234567890", "+0", "+1", "+25:00", "+01:60", "+01:00:00", "?", " +01:00 ??", "[a b]", "Z[UTC"] {
        let text = format!("2022-03-04 00:00:01{rest}");
        assert!(reason(&text).starts_with("after the time of day"), "{text}: {}", reason(&text));
    }
    assert!(reason("2022-03-04 00:00:01 CET").contains("timezone"));
    assert!(reason("2022-03-04 00:00:01[Nowhere/Else]").contains("\"Nowhere/Else\" does not say how far"));
    assert!(reason("2022-03-04").contains("format = \"%Y-%m-%d\""));
    let day = |text: &str| TimeReader::default().day(text).expect_err("no such day").to_string();
    assert!(day("2022-3-4").starts_with("it should look like 2022-03-04;"));
    assert!(day("2022/03/04").starts_with("it should look like"));
    assert_eq!(day("2022-02-29"), "there is no day 29 in February 2022, which has 28 days");
}

#[test]
fn numbers_are_exact_in_their_unit() {
    use EpochUnit::{Microseconds, Milliseconds, Nanoseconds, Seconds};
    let read = |unit, text: &str| {
        let reader = reader(Some(unit), None, None);
        assert_eq!(reader.number(text).ok(), reader.text(text).ok(), "{text} as text");
        reader.number(text)
    };
    assert_eq!(read(Seconds, "1646352060"), Ok(FIRST_MINUTE));
    assert_eq!(read(Seconds, "1646352060.25"), Ok(FIRST_MINUTE + 250));
    assert_eq!(read(Seconds, "1646352060.2509999999999"), Ok(FIRST_MINUTE + 250));
    assert_eq!(read(Seconds, "1.64635206E9"), Ok(FIRST_MINUTE));
    assert_eq!(read(Seconds, "1.64635206e+9"), Ok(FIRST_MINUTE));
    assert_eq!(read(Seconds, "0.000"), Ok(0));
    assert_eq!(read(Seconds, "-1.5"), Ok(-1_500));
    assert_eq!(read(Milliseconds, "1646352060000"), Ok(FIRST_MINUTE));
    assert_eq!(read(Milliseconds, "1000"), Ok(1_000));
    assert_eq!(read(Microseconds, "1646352060000123"), Ok(FIRST_MINUTE));
    assert_eq!(read(Nanoseconds, "1646352060000999999"), Ok(FIRST_MINUTE));
    assert_eq!(read(Nanoseconds, "1646352060000999999000000e-6"), Ok(FIRST_MINUTE));
    for wrong in ["1e99", "9223372036854775807", "1e2147483647", "99999999999999999999999999999999999999999"] {
        assert!(read(Seconds, wrong).is_err(), "{wrong}");
    }
    assert_eq!(read(Seconds, "1e-2147483648"), Ok(0));
    // Texts are still read in a column with a unit.
    assert_eq!(reader(Some(Seconds), None, None).text("2022-03-04T00:01Z"), Ok(FIRST_MINUTE));
}

#[test]
fn a_number_without_a_unit_is_not_guessed() {
    let plain = TimeReader::default();
    assert_eq!(plain.number("1646352060000"), Ok(FIRST_MINUTE));
    assert_eq!(plain.number("1646352060000.0"), Ok(FIRST_MINUTE));
    assert_eq!(plain.number("0"), Ok(0));
    let reason = |text: &str| plain.number(text).expect_err("ambiguous").to_string();
    let seconds = reason("1646352060");
    assert!(seconds.contains("as milliseconds it would be 1970-01-20T01:19:12.060Z"), "{seconds}");
    assert!(seconds.contains("with unit = \"s\" in the schema it is 2022-03-04T00:01:00Z"), "{seconds}");
    assert!(reason("1646352060.5").contains("unit = \"s\""));
    assert!(reason("1646352060000000").contains("unit = \"us\""));
    assert!(reason("1646352060000000000").contains("unit = \"ns\""));
    assert!(reason("-1").contains("`unit` in the schema (s, ms, us or ns)"));
    assert!(plain.text("1646352060").is_err(), "nor in quotes");
}

#[test]
fn times_by_a_format() {
    let read = |format: &str, text: &str| reader(None, Some(format), None).text(text);
    assert_eq!(read("%d/%b/%Y:%H:%M:%S %z", "04/Mar/2022:00:01:00 +0000"), Ok(FIRST_MINUTE));
    assert_eq!(read("[%d/%b/%Y:%H:%M:%S %z]", "[04/Mar/2022:09:01:00 +0900]"), Ok(FIRST_MINUTE));
    assert_eq!(read("%m/%d/%Y %I:%M %p", "03/04/2022 12:01 AM"), Ok(FIRST_MINUTE));
    assert_eq!(read("%Y%m%d%H%M%S", "20220304000100"), Ok(FIRST_MINUTE));
    assert_eq!(read("%Y%m%d%H%M%S%3f", "20220304000100250"), Ok(FIRST_MINUTE + 250));
    assert_eq!(read("%s", "1646352060"), Ok(FIRST_MINUTE));
    assert_eq!(read("%Y-%m-%d", "2022-03-04"), Ok(FIRST_MINUTE - 60_000));
    assert_eq!(read("%Y-%m-%d %H", "2022-03-04 00"), Ok(FIRST_MINUTE - 60_000));
    assert_eq!(reader(None, Some("%d.%m.%Y"), None).day("04.03.2022"), Ok(19_055));
    let reason = read("%d/%b/%Y:%H:%M:%S %z", "2022-03-04 00:01:00").expect_err("another form").to_string();
    assert!(reason.starts_with("it is not as format = \"%d/%b/%Y:%H:%M:%S %z\" says"), "{reason}");
    assert!(read("%Y-%m-%d %H:%M", "2022-02-30 00:00").is_err());
    assert!(read("%Y-%m-%d %H:%M", "2022-02-20 00:00 ").is_ok());
    assert!(read("%Y-%m-%d %H:%M", "2022-02-20 00:00x").is_err());
    // A unit is for numbers, a format for texts.
    let both = reader(Some(EpochUnit::Seconds), Some("%d.%m.%Y %H:%M"), None);
    assert_eq!((both.text("04.03.2022 00:01"), both.text("1646352060")), (Ok(FIRST_MINUTE), Ok(FIRST_MINUTE)));
}

#[test]
fn times_without_a_zone_are_of_the_declared_one() {
    let seoul = reader(None, None, Some("Asia/Seoul"));
    assert_eq!(seoul.text("2022-03-04 09:01:00"), Ok(FIRST_MINUTE));
    assert_eq!(seoul.text("2022-03-04T00:01:00Z"), Ok(FIRST_MINUTE));
    assert_eq!(reader(None, None, Some("+09:00")).text("2022-03-04 09:01"), Ok(FIRST_MINUTE));
    let format = Some("%d.%m.%Y %H:%M");
    assert_eq!(reader(None, format, Some("Europe/Berlin")).text("04.03.2022 01:01"), Ok(FIRST_MINUTE));
    let berlin = reader(None, None, Some("Europe/Berlin"));
    // 02:30 comes twice in the night of 30 October 2022, and not at all in that of 27 March.
    assert_eq!(berlin.text("2022-10-30 02:30:00"), plain("2022-10-30 00:30:00"));
    let skipped = berlin.text("2022-03-27 02:30:00").expect_err("no such time").to_string();
    assert!(skipped.contains("Europe/Berlin"), "{skipped}");
}

#[test]
fn a_form_that_cannot_work_is_refused() {
    let times = |format: &str| form(None, Some(format), None).check(false).expect_err(format);
    assert!(times("%d/%Q").message.contains('%'));
    assert!(times("%H:%M").message.contains("a year, a month and a day"), "{}", times("%H:%M"));
    assert!(times("%b %d %H:%M:%S").message.contains("a year"), "a syslog has none");
    assert!(times("%Y-%m-%d %I:%M").message.contains("which half"));
    assert_eq!(times("%Y-%m-%d %H:%M:%S %Z").expected, "%z for an offset like +0100, or `timezone` beside it");
    assert!(form(None, Some("%Y-%m-%d %H:%M:%S %Z"), Some("Europe/Berlin")).check(false).is_ok());
    assert_eq!(form(None, None, Some("Mars/Olympus")).check(false).expect_err("no zone").key, "timezone");
    assert!(form(None, Some("%H"), None).check(true).is_err());
    assert!(form(None, Some("%d.%m.%y"), None).check(true).is_ok());
    for format in ["%d/%b/%Y:%H:%M:%S %z", "%s", "%+", "%Y-%m-%dT%H:%M:%S%.f%:z", "%Y%m%d", "%c", "%D %T", "%s%.3f"] {
        assert_eq!(form(None, Some(format), None).check(false), Ok(()), "{format}");
    }
}

/// A moment of the years 1 to 9998, so that offsets stay within the calendar.
fn moment() -> impl Strategy<Value = DateTime<Utc>> {
    (-62_135_596_800i64 + 86_400 * 366..253_402_300_799 - 86_400 * 366, 0u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| Utc.timestamp_opt(seconds, nanos).single().expect("within the calendar"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
        for reader in [TimeReader::default(), reader(Some(EpochUnit::Seconds), Some("%d/%b/%Y"), Some("Asia/Seoul"))] {
            let _ = reader.text(&text).map_err(|error| error.to_string());
            let _ = reader.number(&text).map_err(|error| error.to_string());
            let _ = reader.day(&text).map_err(|error| error.to_string());
        }
    }

    #[test]
    fn near_times_never_panic(text in "[0-9]{4}[-/]?[0-9]{2}[-/]?[0-9]{2}[ T]?[0-9]{2}:?[0-9]{2}(:?[0-9]{2})?([.,][0-9]{0,12})? ?(Z|UTC|[+-][0-9:]{0,6})?(\\[[A-Za-z/]{0,12}\\])?") {
        let _ = plain(&text).map_err(|error| error.to_string());
    }

    #[test]
    fn near_numbers_never_panic(text in "[+-]?[0-9]{0,40}(\\.[0-9]{0,30})?([eE][+-]?[0-9]{0,11})?") {
        for unit in EpochUnit::ALL {
            let _ = reader(Some(unit), None, None).text(&text);
        }
        let _ = plain(&text);
    }

    #[test]
    fn days_agree_with_the_calendar(days in -719_528i32..2_932_896) {
        let date = NaiveDate::from_num_days_from_ce_opt(days + 719_163).expect("within range");
        let text = format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day());
        prop_assert_eq!(TimeReader::default().day(&text), Ok(days));
    }

    #[test]
    fn every_form_of_a_moment_is_that_moment(moment in moment(), offset in -23 * 60..24 * 60i32, digits in 0usize..10) {
        let zone = chrono::FixedOffset::east_opt(offset * 60).expect("an offset");
        let local = moment.with_timezone(&zone);
        let fraction = &format!("{:09}", moment.nanosecond())[..digits];
        let expected = moment.timestamp() * 1_000
            + fraction.chars().chain("000".chars()).take(3).collect::<String>().parse::<i64>().expect("digits");
        let point = if digits == 0 { "" } else { "." };
        let comma = if digits == 0 { "" } else { "," };
        let (day, clock) = (local.format("%Y-%m-%d"), local.format("%H:%M:%S"));
        let forms = [
            format!("{day} {clock}{point}{fraction}{}", local.format("%:z")),
            format!("{day}T{clock}{comma}{fraction}{}", local.format("%z")),
            format!("{day} {clock}{comma}{fraction} {}", local.format("%z")),
            format!("{day}T{clock}{point}{fraction}{}[Europe/Paris]", local.format("%:z")),
            format!("{}T{}{point}{fraction}{}", local.format("%Y%m%d"), local.format("%H%M%S"), local.format("%z")),
            format!("{}{point}{fraction}Z", moment.format("%Y-%m-%dT%H:%M:%S")),
            format!("{}{comma}{fraction} UTC", moment.format("%Y-%m-%d %H:%M:%S")),
            format!("{}{point}{fraction}", moment.format("%Y-%m-%d %H:%M:%S")),
        ];
        for text in &forms {
            prop_assert_eq!(plain(text), Ok(expected), "{}", text);
        }
        let minute = moment.timestamp().div_euclid(60) * 60_000;
        prop_assert_eq!(plain(&local.format("%Y-%m-%dT%H:%M%z").to_string()), Ok(minute));
        let web = local.format("%d/%b/%Y:%H:%M:%S %z").to_string();
        prop_assert_eq!(reader(None, Some("%d/%b/%Y:%H:%M:%S %z"), None).text(&web), Ok(moment.timestamp() * 1_000));
        if moment.year() >= 1900 {
            prop_assert_eq!(plain(&local.to_rfc2822()), Ok(moment.timestamp() * 1_000), "{}", local.to_rfc2822());
        }
        // One at a time through the fast path and the careful one.
        let careful = reader(None, None, Some("UTC"));
        for text in &forms {
            prop_assert_eq!(careful.text(text), Ok(expected), "{}", text);
        }
    }

    #[test]
    fn every_number_of_a_moment_is_that_moment(moment in moment()) {
        let seconds = moment.timestamp();
        let milliseconds = seconds * 1_000 + i64::from(moment.timestamp_subsec_millis());
        let read = |unit, text: String| reader(Some(unit), None, None).number(&text);
        prop_assert_eq!(read(EpochUnit::Seconds, seconds.to_string()), Ok(seconds * 1_000));
        prop_assert_eq!(read(EpochUnit::Milliseconds, milliseconds.to_string()), Ok(milliseconds));
        prop_assert_eq!(read(EpochUnit::Microseconds, format!("{milliseconds}000")), Ok(milliseconds));
        prop_assert_eq!(read(EpochUnit::Nanoseconds, format!("{milliseconds}000000")), Ok(milliseconds));
        if seconds >= 0 {
            let written = format!("{seconds}.{:09}", moment.nanosecond());
            prop_assert_eq!(read(EpochUnit::Seconds, written), Ok(milliseconds));
        }
    }
}

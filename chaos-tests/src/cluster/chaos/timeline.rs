//! A run as a page: one HTML file that needs nothing else, with a picture of what a reader of the store saw (clicks counted in a
//! second, the age of the newest checkpoint that is committed) over the faults, and tables of how each was got over.

use super::{
    Report,
    recovery::{Incident, Summary},
    schedule::Fault,
};
use std::fmt::Write;

const LEFT: f64 = 64.0;
/// Room for the last label, too.
const RIGHT: f64 = 220.0;
/// Of a second, at least so much is to be seen.
const POINTS_PER_SECOND: f64 = 6.0;
const NARROWEST: f64 = 1_100.0;
const PANEL: f64 = 150.0;
const GAP: f64 = 34.0;
const LANE: f64 = 18.0;
/// Of a letter of a label.
const LETTER: f64 = 6.3;
/// The youngest and the oldest age that the axis shows, in seconds.
const AGES: (f64, f64) = (0.1, 200.0);

const STYLE: &str = "
body { font: 14px/1.45 system-ui, sans-serif; margin: 24px; color: #1c2733; background: #fff; }
h1 { font-size: 20px; margin: 0 0 4px; } h2 { font-size: 16px; margin: 26px 0 6px; } p { margin: 4px 0 12px; max-width: 60em; }
.picture { overflow-x: auto; border: 1px solid #d9dfe5; border-radius: 4px; }
svg { display: block; } svg text { font: 11px system-ui, sans-serif; fill: #3b4856; } svg .title { font-weight: 600; }
.grid { stroke: #e6eaee; } .clicks { fill: #9fc5e8; stroke: #2f6ea5; } .age { fill: none; stroke: #1c2733; }
.stall { fill: #7f8c8d; fill-opacity: .35; }
.band { fill-opacity: .08; } .after { stroke-dasharray: 2 2; stroke-width: 2; }
table { border-collapse: collapse; } th, td { padding: 3px 12px 3px 0; text-align: left; border-bottom: 1px solid #e6eaee; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
.key { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin: 0 4px 0 12px; }
";

/// The page.
pub fn page(report: &Report) -> String {
    let mut page = String::new();
    // A string takes all that is written.
    let _ = write_page(&mut page, report);
    page
}

fn write_page(page: &mut String, report: &Report) -> std::fmt::Result {
    let axis = Axis::of(report);
    write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Weir: {} faults, seed {}</title>",
        report.incidents.len(),
        report.seed
    )?;
    write!(
        page,
        "<style>{STYLE}</style></head><body>\n<h1>{} faults in {:.0} s, seed {}</h1>\n",
        report.incidents.len(),
        axis.seconds,
        report.seed
    )?;
    if let Some(wrong) = &report.wrong {
        writeln!(page, "<p>The results are wrong:</p>\n<pre>{}</pre>", escaped(wrong))?;
    } else {
        writeln!(
            page,
            "<p>Every result is right: {} clicks of the input, recounted, against a topic ({} records of counts) and \
         tables ({} counts, {} places of top lists, {} commits). The job took {} checkpoints in {} attempts.</p>",
            report.compared.clicks,
            report.compared.counts,
            report.store.counts,
            report.store.places,
            report.store.commits,
            report.checkpoints,
            report.attempts
        )?;
    }
    page.push_str("<p>");
    for (name, colour) in KEYS {
        write!(page, "<span class=\"key\" style=\"background:{colour}\"></span>{name}")?;
    }
    page.push_str(" &nbsp; a dashed line: until there are new results; <span class=\"key\" style=\"background:#b9bfc4\"></span>the machine stood still, busy with something else</p>\n<div class=\"picture\">\n");
    picture(page, report, &axis)?;
    page.push_str("</div>\n");
    summary_table(page, &report.recoveries())?;
    incident_table(page, report)?;
    page.push_str("</body></html>\n");
    Ok(())
}

/// Time, from left to right.
struct Axis {
    begun_ms: i64,
    seconds: f64,
    width: f64,
}

impl Axis {
    fn of(report: &Report) -> Self {
        let last_incident = report.incidents.iter().map(|incident| incident.over_ms).max();
        let last_commit = report.seen.commits.last().map(|commit| commit.seen_ms);
        let end_ms = last_incident.max(last_commit).unwrap_or(report.begun_ms).max(report.begun_ms + 1_000);
        let seconds = (end_ms - report.begun_ms) as f64 / 1e3;
        Axis { begun_ms: report.begun_ms, seconds, width: (seconds * POINTS_PER_SECOND).max(NARROWEST) }
    }

    fn x(&self, moment_ms: i64) -> f64 {
        let second = ((moment_ms - self.begun_ms) as f64 / 1e3).clamp(0.0, self.seconds);
        LEFT + second / self.seconds * self.width
    }

    fn total_width(&self) -> f64 {
        LEFT + self.width + RIGHT
    }
}

fn picture(page: &mut String, report: &Report, axis: &Axis) -> std::fmt::Result {
    let lanes = lanes(report, axis);
    let lane_count = lanes.iter().max().map_or(0, |lane| lane + 1) as f64;
    let faults_top = 2.0 * (PANEL + GAP) + GAP;
    let height = faults_top + lane_count * LANE + GAP;
    let width = axis.total_width();
    writeln!(
        page,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">"
    )?;
    time_grid(page, axis, faults_top + lane_count * LANE)?;
    for (from, to) in &report.seen.stalls {
        let (x, to) = (axis.x(*from), axis.x(*to));
        let height = faults_top - GAP;
        writeln!(
            page,
            "<rect class=\"stall\" x=\"{x:.1}\" y=\"{GAP}\" width=\"{:.1}\" height=\"{height:.1}\"/>",
            to - x
        )?;
    }
    for incident in &report.incidents {
        let (x, to) = (axis.x(incident.begun_ms), axis.x(incident.over_ms));
        writeln!(
            page,
            "<rect class=\"band\" x=\"{x:.1}\" y=\"{GAP}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>",
            (to - x).max(1.0),
            2.0 * PANEL + GAP,
            colour(incident.fault)
        )?;
    }
    clicks(page, report, axis, GAP)?;
    ages(page, report, axis, GAP + PANEL + GAP)?;
    writeln!(
        page,
        "<text class=\"title\" x=\"{LEFT}\" y=\"{:.1}\">faults, and how long until there were new results</text>",
        faults_top - 8.0
    )?;
    for (incident, lane) in report.incidents.iter().zip(lanes) {
        fault(page, report, axis, incident, faults_top + lane as f64 * LANE)?;
    }
    page.push_str("</svg>\n");
    Ok(())
}

fn time_grid(page: &mut String, axis: &Axis, bottom: f64) -> std::fmt::Result {
    // Some ten points to a hundred.
    let step = [1, 2, 5, 10, 30, 60]
        .into_iter()
        .find(|step| axis.width * f64::from(*step) / axis.seconds >= 60.0)
        .unwrap_or(60);
    let mut second = 0;
    while f64::from(second) <= axis.seconds {
        let x = axis.x(axis.begun_ms + i64::from(second) * 1_000);
        writeln!(page, "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{GAP}\" y2=\"{bottom:.1}\"/>")?;
        writeln!(page, "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second} s</text>", bottom + 16.0)?;
        second += step;
    }
    Ok(())
}

/// Clicks counted in a second.
fn clicks(page: &mut String, report: &Report, axis: &Axis, top: f64) -> std::fmt::Result {
    let samples = report.seen.clicks.iter().zip(report.seen.clicks.iter().skip(1));
    let rates: Vec<(i64, i64, f64)> = samples
        .filter(|((_, _), (to, _))| *to > axis.begun_ms)
        .map(|((from, before), (to, after))| (*from, *to, (after - before) as f64 * 1e3 / (to - from).max(1) as f64))
        .collect();
    let most = top_rate(rates.iter().map(|(.., rate)| *rate));
    let bottom = top + PANEL;
    writeln!(
        page,
        "<text class=\"title\" x=\"{LEFT}\" y=\"{:.1}\">clicks that became visible in a second</text>",
        top - 8.0
    )?;
    for share in [0.0, 0.5, 1.0] {
        let y = bottom - share * PANEL;
        writeln!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            LEFT + axis.width
        )?;
        writeln!(
            page,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{:.0}</text>",
            LEFT - 6.0,
            y + 4.0,
            share * most
        )?;
    }
    let mut path = String::new();
    for (from, to, rate) in &rates {
        let y = bottom - rate.min(most) / most * PANEL;
        write!(path, "{:.1},{y:.1} {:.1},{y:.1} ", axis.x(*from), axis.x(*to))?;
    }
    if let (Some((first, ..)), Some((_, last, _))) = (rates.first(), rates.last()) {
        let ends = (axis.x(*first), axis.x(*last));
        writeln!(page, "<polygon class=\"clicks\" points=\"{:.1},{bottom} {path}{:.1},{bottom}\"/>", ends.0, ends.1)?;
    }
    Ok(())
}

/// The top of the axis: of twenty seconds with clicks, nineteen have no more. What was held back comes all at once, and is cut.
fn top_rate(rates: impl Iterator<Item = f64>) -> f64 {
    let mut rates: Vec<f64> = rates.filter(|rate| *rate > 0.0).collect();
    rates.sort_by(f64::total_cmp);
    let place = (rates.len() * 19).div_ceil(20).max(1) - 1;
    rates.get(place).copied().unwrap_or(1.0)
}

/// How old the newest committed checkpoint is, at each moment.
fn ages(page: &mut String, report: &Report, axis: &Axis, top: f64) -> std::fmt::Result {
    let (youngest, oldest) = AGES;
    let y = |age_ms: i64| {
        let age = (age_ms as f64 / 1e3).clamp(youngest, oldest);
        top + PANEL - (age / youngest).ln() / (oldest / youngest).ln() * PANEL
    };
    writeln!(
        page,
        "<text class=\"title\" x=\"{LEFT}\" y=\"{:.1}\">age of the newest committed checkpoint</text>",
        top - 8.0
    )?;
    for (age_ms, label) in [(100, "0.1 s"), (1_000, "1 s"), (10_000, "10 s"), (100_000, "100 s")] {
        let y = y(age_ms);
        writeln!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
            LEFT + axis.width
        )?;
        writeln!(page, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", LEFT - 6.0, y + 4.0)?;
    }
    let mut path = String::new();
    let commits = report.seen.commits.iter().zip(report.seen.commits.iter().skip(1));
    for (before, commit) in commits.filter(|(before, _)| before.seen_ms >= axis.begun_ms) {
        let x = axis.x(commit.seen_ms);
        // It grew until the next one came.
        write!(
            path,
            "{x:.1},{:.1} {x:.1},{:.1} ",
            y(commit.seen_ms - before.staged_ms),
            y(commit.seen_ms - commit.staged_ms)
        )?;
    }
    writeln!(page, "<polyline class=\"age\" points=\"{path}\"/>")
}

fn fault(page: &mut String, report: &Report, axis: &Axis, incident: &Incident, top: f64) -> std::fmt::Result {
    let (x, over, colour) = (axis.x(incident.begun_ms), axis.x(incident.over_ms), colour(incident.fault));
    let width = (over - x).max(2.0);
    writeln!(
        page,
        "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"11\" rx=\"2\" fill=\"{colour}\"/>"
    )?;
    if let Some(until) = felt_until(report, incident) {
        let (y, until) = (top + 14.0, axis.x(until));
        writeln!(
            page,
            "<line class=\"after\" x1=\"{x:.1}\" x2=\"{until:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\"/>"
        )?;
    }
    writeln!(
        page,
        "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
        x + width + 4.0,
        top + 10.0,
        escaped(&label(report, incident))
    )
}

/// The moment at which there were new results.
fn felt_until(report: &Report, incident: &Incident) -> Option<i64> {
    let from_ms = if incident.fault.is_bridged() { incident.begun_ms } else { incident.over_ms };
    report.seen.first_after(from_ms).map(|commit| commit.seen_ms)
}

fn label(report: &Report, incident: &Incident) -> String {
    match incident.recovery(&report.seen) {
        Some(recovery) => format!("{}: {:.1} s", incident.fault, recovery.took_ms as f64 / 1e3),
        None => incident.fault.to_string(),
    }
}

/// In which lane each fault is drawn, so that no label lies on another.
fn lanes(report: &Report, axis: &Axis) -> Vec<usize> {
    let mut ends: Vec<f64> = Vec::new();
    let lane = |incident: &Incident| {
        let begin = axis.x(incident.begun_ms);
        let bar = (axis.x(incident.over_ms) - begin).max(2.0);
        let end = begin + bar + 16.0 + LETTER * label(report, incident).len() as f64;
        let free = ends.iter().position(|taken| *taken < begin).unwrap_or(ends.len());
        if free == ends.len() {
            ends.push(end);
        } else {
            ends[free] = end;
        }
        free
    };
    report.incidents.iter().map(lane).collect()
}

const KEYS: [(&str, &str); 5] = [
    ("killed", "#c0392b"),
    ("frozen", "#2471a3"),
    ("cut", "#d68910"),
    ("packets lost", "#884ea0"),
    ("disk full", "#3d8b58"),
];

fn colour(fault: Fault) -> &'static str {
    let kind = match fault {
        Fault::Kill(_) => 0,
        Fault::Freeze(_) => 1,
        Fault::CutOff(_) | Fault::Cut(..) | Fault::OneWay(..) => 2,
        Fault::Loss(..) => 3,
        Fault::FullDisk(_) => 4,
    };
    KEYS[kind].1
}

fn summary_table(page: &mut String, summaries: &[Summary]) -> std::fmt::Result {
    page.push_str("<h2>Recovery</h2>\n<p>Until results were visible that were staged after the fault; after its end, where nobody \
                   else can do the work meanwhile. Faults that came together with others are not counted.</p>\n<table><tr><th>fault</th><th>from its</th>");
    for name in ["times", "p50", "p95", "longest", "restarts", "on a stalled machine"] {
        write!(page, "<th class=\"number\">{name}</th>")?;
    }
    page.push_str("</tr>\n");
    for summary in summaries {
        write!(
            page,
            "<tr><td>{}</td><td>{}</td>",
            escaped(&summary.kind),
            if summary.bridged { "begin" } else { "end" }
        )?;
        write!(page, "<td class=\"number\">{}</td>", summary.times)?;
        for time in [summary.p50_ms, summary.p95_ms, summary.max_ms] {
            write!(page, "<td class=\"number\">{:.2} s</td>", time as f64 / 1e3)?;
        }
        writeln!(
            page,
            "<td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            summary.restarts, summary.stalled
        )?;
    }
    page.push_str("</table>\n");
    Ok(())
}

fn incident_table(page: &mut String, report: &Report) -> std::fmt::Result {
    page.push_str("<h2>Every fault</h2>\n<table><tr><th class=\"number\">at</th><th>fault</th><th>of</th><th class=\"number\">lasted</th>");
    page.push_str("<th class=\"number\">results again after</th><th class=\"number\">restarts</th></tr>\n");
    for incident in &report.incidents {
        let seconds = |ms: i64| ms as f64 / 1e3;
        write!(page, "<tr><td class=\"number\">{:.1} s</td>", seconds(incident.begun_ms - report.begun_ms))?;
        write!(page, "<td>{}</td><td>{}</td>", escaped(&incident.kind), escaped(&incident.victims))?;
        write!(page, "<td class=\"number\">{:.1} s</td>", seconds(incident.over_ms - incident.begun_ms))?;
        match incident.recovery(&report.seen) {
            Some(recovery) => write!(
                page,
                "<td class=\"number\">{:.2} s</td><td class=\"number\">{}</td>",
                seconds(recovery.took_ms),
                recovery.restarts
            )?,
            None => page.push_str("<td class=\"number\">with others</td><td></td>"),
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            schedule::Role,
            watch::{Commit, Seen},
        },
        *,
    };
    use crate::cluster::{kafka::results::Compared, store_check::StoreCompared};

    fn report() -> Report {
        let fault = Fault::OneWay(Role::Worker, Role::Leader);
        let incident = |begun_ms, alone| Incident {
            fault,
            kind: fault.to_string(),
            victims: "worker-1, coordinator".into(),
            begun_ms,
            over_ms: begun_ms + 1_000,
            alone,
        };
        let commits =
            (0..40).map(|n| Commit { seen_ms: 600 + n * 500, staged_ms: 500 + n * 500, checkpoint: n, attempt: 1 });
        Report {
            seed: 7,
            begun_ms: 1_000,
            incidents: vec![incident(2_000, true), incident(2_010, false)],
            missed: 0,
            attempts: 1,
            checkpoints: 40,
            seen: Seen {
                commits: commits.collect(),
                clicks: vec![(1_000, 0), (2_000, 500), (3_000, 1_500)],
                stalls: vec![(2_000, 2_400)],
            },
            wrong: None,
            compared: Compared { clicks: 1, counts: 2, running: 3, not_counted: [4, 5] },
            store: StoreCompared::default(),
        }
    }

    #[test]
    fn a_page_says_what_happened_and_how_it_was_got_over() {
        let page = page(&report());
        assert!(page.contains("one-way cut worker &gt; leader: 0.6 s"), "{page}");
        assert!(page.contains("<td class=\"number\">0.60 s</td>") && page.contains("with others"), "{page}");
        // The highest of two rates is the top of the axis.
        assert!(page.contains("text-anchor=\"end\">1000</text>"), "{page}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
        assert!(page.contains("Every result is right"), "{page}");
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }

    #[test]
    fn a_page_says_what_is_wrong() {
        let page = page(&Report { wrong: Some("2 rows came & 1 <is there>".into()), ..report() });
        assert!(page.contains("wrong") && page.contains("2 rows came &amp; 1 &lt;is there&gt;"), "{page}");
        assert!(!page.contains("Every result is right") && page.contains("one-way cut worker"), "{page}");
    }

    #[test]
    fn a_burst_does_not_flatten_all_others() {
        let usual = (0..99).map(|_| 600.0);
        assert_eq!(top_rate(usual.chain([50_000.0])), 600.0);
        assert_eq!(top_rate([0.0].into_iter()), 1.0);
    }

    #[test]
    fn labels_do_not_lie_on_each_other() {
        let report = report();
        assert_eq!(lanes(&report, &Axis::of(&report)), [0, 1]);
    }
}

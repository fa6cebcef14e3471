//! Whether the two sides of a join of events fit: keys, bounds, and the columns of its results.

use std::time::Duration;

use weir_operators::columns::{RECORD_ID, REVISION, WITHDRAWN};
use weir_operators::definition::Mistake;
use weir_operators::definition::duration::show;
use weir_operators::join::{JoinColumn, Side};
use weir_operators::schema::ColumnSchema;

use super::super::check::Check;
use super::super::types::Types;
use super::definition::Join;

/// Rows that are kept for longer are as good as kept for ever.
const LONGEST: Duration = Duration::from_secs(3_660 * 24 * 3600);

impl Join {
    /// What is wrong with it.
    pub(super) fn check_sides(&self, check: &mut Check<'_>, left: &Types, right: &Types) {
        let before = check.mistakes.len();
        check.needs_event_time_at("left", left);
        check.needs_event_time_at("right", right);
        if check.mistakes.len() > before {
            if left.results.is_some() && right.results.is_some() {
                // Both say the same of what was probably meant.
                check.mistakes.truncate(before);
                let message = "both sides are results, which have a window in place of a time";
                let mistake = Mistake::on_key(check.path.key("within"), message);
                let expected = "`type = \"inner\"`, or \"left\", \"right\" or \"full\", in place of `within` and `match`: \
                                then results of the same window are joined";
                check.mistakes.push(mistake.expected(expected));
            }
            return; // What else there is to say would be of other rows.
        }
        if self.sides.on[0].is_empty() && check.mistakes.iter().all(|mistake| mistake.path != check.path) {
            let mistake = Mistake::new(check.path.key("on"), "it names no column that has to be equal");
            check.mistakes.push(mistake.expected("at least one, such as [\"user_id\"]"));
        }
        self.sides.check_on(check, &left.main, &right.main);
        self.check_bounds(check);
        let own = [RECORD_ID, REVISION, WITHDRAWN];
        let selected = self.selected(&left.main, &right.main);
        self.sides.check_select(check, (&left.main, &right.main), selected, &own);
    }

    fn check_bounds(&self, check: &mut Check<'_>) {
        for (key, bound) in
            [("before", self.before), ("after", self.after), ("allowed_lateness", self.allowed_lateness)]
        {
            if bound > LONGEST {
                let message = "rows would be kept for so long that the state would hardly ever stop growing";
                let mistake = Mistake::new(check.path.key("within").key(key), message).found(show(bound));
                check.mistakes.push(mistake.expected(format!("{} at most", show(LONGEST))));
            }
        }
    }

    /// The columns of the results, as far as they make sense.
    pub(super) fn selected(&self, left: &ColumnSchema, right: &ColumnSchema) -> Vec<JoinColumn> {
        self.sides.selected().unwrap_or_else(|| all_columns(left, right))
    }
}

/// All columns of the left, then those of the right that have other names.
fn all_columns(left: &ColumnSchema, right: &ColumnSchema) -> Vec<JoinColumn> {
    let item = |side: Side| move |name: &str| JoinColumn { name: name.to_owned(), side, column: name.to_owned() };
    let others = right.names().filter(|name| left.column(name).is_none());
    left.names().map(item(Side::Left)).chain(others.map(item(Side::Right))).collect()
}

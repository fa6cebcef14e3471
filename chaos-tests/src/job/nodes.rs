//! The nodes between sources and sinks: the counts and what is made of them, and what there may be beside them.

use super::{
    BLOCK_MINUTES, JobConfig, PAIRED_AFTER_SECONDS, PAIRED_BEFORE_SECONDS, TOP_MINUTES, TOP_N, sources::read_and_unread,
};
use crate::oracle::{Others, WindowJoin};

const DEDUP: &str = r#"
[dedup.unique]
input = "valid"
key = ["ad_id", "click_timestamp", "user_id", "ip"]
ttl = "2h"
"#;

/// Clicks on the first ad stand for orders, which clicks on other ads led to.
const PAIRS: &str = r#"
[map.orders]
input = "valid"
where = "ad_id = 'ad000'"

[map.before_orders]
input = "valid"
where = "ad_id <> 'ad000'"

[join.pairs]
left = "orders"
right = "before_orders"
on = ["user_id"]
match = "last"
select = { order = "left.ip", ordered = "left.click_timestamp", click = "right.ad_id", clicked = "right.click_timestamp" }
"#;

/// The nodes that every job has.
pub(super) fn nodes(config: &JobConfig) -> String {
    let misspelt = if config.wrong_filter { "3" } else { "" };
    let all = if config.count_all { "all = \"true\"" } else { "" };
    let lateness = config.allowed_lateness_minutes;
    let (counted, dedup) = if config.without_dedup { ("valid", "") } else { ("unique", DEDUP) };
    let (read, _) = read_and_unread(config);
    format!(
        r#"[map.valid]
input = ["{read}"]
# Fails on guests, who have no number, and divides by zero for user 7.
where = """case when ad_id <> '' and country is not null
    then 100 / (cast(substr(user_id, 6) as bigint) - 7) < 1000 else false end"""

{dedup}
[filters]
# Divides by zero for user 9.
usa = "country = 'USA' and 1 / (cast(substr(user_id, 6) as bigint) - 9) >= -1"
first = "ip like '%.1' or user_id = 'user 3{misspelt}'"
{all}

[aggregate.clicks_per_minute]
input = "{counted}"
key = ["ad_id", "filter_id"]
window = {{ tumbling = "1m", allowed_lateness = "{lateness}m" }}
select = {{ count = "count(*)" }}
# With every other checkpoint.
emit = {{ every = "{emit}ms" }}

# All clicks are one group.
[aggregate.everybody]
input = "{counted}"
key = []
window = {{ tumbling = "1m", allowed_lateness = "{lateness}m" }}
[aggregate.everybody.select]
clicks = "count(*)"
usa = "count(*) filter (where country = 'USA')"
users = "count(distinct user_id)"
last_ip = "last_value(ip)"
last_users_ad = "max_by(ad_id, user_id)"
ads = "array_agg(distinct ad_id, 4)"
ips = "array_agg(ip, 3)"
median = "median(cast(substr(user_id, 6) as bigint))"
spread = "var_pop(cast(substr(user_id, 6) as bigint))"

# Counts rise, so that what is kept comes and goes with every click that is late.
[map.kept]
input = "clicks_per_minute"
where = "count % 3 <> 1"

# Divides by zero for five clicks.
[map.shares]
input = "kept"
select = {{ filter_id = "filter_id", ad = "ad_id", minute = "window_start", share = "60 / (count - 5)" }}

[reduce.top_kept]
input = "kept"
window = {{ hopping = "{TOP_MINUTES}m", slide = "1m" }}
top = {{ n = {TOP_N}, by = "count", per = ["filter_id"] }}

# Loses minutes whose counts are not kept any longer, and then all of them now and then.
[aggregate.blocks]
input = "kept"
key = ["ad_id", "filter_id"]
window = {{ tumbling = "{BLOCK_MINUTES}m" }}
select = {{ minutes = "count(*)", clicks = "sum(count)", most = "max(count)" }}

[reduce.top_ads]
input = "clicks_per_minute"
window = {{ hopping = "{TOP_MINUTES}m", slide = "1m" }}
top = {{ n = {TOP_N}, by = "count", per = ["filter_id"] }}
"#,
        emit = 2 * config.checkpoint_interval_ms,
    )
}

/// Counts in windows of another kind.
pub(super) fn others(kind: Others, lateness_minutes: i64) -> String {
    let window = kind.written();
    format!(
        "[aggregate.other_windows]\ninput = \"valid\"\nkey = [\"ad_id\"]\n\
         window = {{ {window}, allowed_lateness = \"{lateness_minutes}m\" }}\nselect = {{ count = \"count(*)\" }}\n\n"
    )
}

/// Orders, and the clicks that led to them.
pub(super) fn pairs(lateness_minutes: i64) -> String {
    format!(
        "{PAIRS}within = {{ before = \"{PAIRED_BEFORE_SECONDS}s\", after = \"{PAIRED_AFTER_SECONDS}s\", \
         allowed_lateness = \"{lateness_minutes}m\" }}\n\n"
    )
}

/// The numbers of clicks from outside Japan, of which those that are even come and go as the kept counts do, and the join of the two.
pub(super) fn window_join(join: WindowJoin, lateness_minutes: i64) -> String {
    let WindowJoin { kind, turned, more_lateness_minutes } = join;
    let [counts, clicks] = if turned { ["right", "left"] } else { ["left", "right"] };
    format!(
        "[map.abroad]\ninput = \"valid\"\nwhere = \"country <> 'Japan'\"\n\n\
         [aggregate.abroad_minutes]\ninput = \"abroad\"\nkey = [\"ad_id\"]\n\
         window = {{ tumbling = \"1m\", allowed_lateness = \"{}m\" }}\nselect = {{ clicks = \"count(*)\" }}\n\n\
         [map.abroad_odd]\ninput = \"abroad_minutes\"\nwhere = \"clicks % 2 = 1\"\n\n\
         [join.window_join]\n{counts} = \"kept\"\n{clicks} = \"abroad_odd\"\non = [\"ad_id\"]\ntype = \"{}\"\n\
         select = {{ ad_id = \"left.ad_id\", filter_id = \"{counts}.filter_id\", count = \"{counts}.count\", \
         clicks = \"{clicks}.clicks\" }}\n\n",
        lateness_minutes + more_lateness_minutes,
        kind.written()
    )
}

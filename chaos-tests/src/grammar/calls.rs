//! Calls of aggregate functions, in a definition and in DuckDB, by what the documentation says of them.

use super::expressions;
use super::job::{Call, Column, Expr, How, Kind};
use rand::{RngExt, rngs::StdRng};

/// Draws some calls over columns; the first of them counts rows. `names` begins their names. Those of results have no condition
/// that reads what they do not have.
pub fn draw(dice: &mut StdRng, columns: &[Column], conditions: &[Expr], names: &str) -> Vec<Call> {
    let number = dice.random_range(1..6);
    let mut calls = vec![count_rows(format!("{names}_rows"))];
    for at in 1..=number {
        calls.extend(one(dice, columns, conditions, format!("{names}_{at}")));
    }
    calls
}

/// A call whose argument fails on some rows.
pub fn failing(dice: &mut StdRng, columns: &[Column], name: String) -> Option<Call> {
    let of = expressions::failing(dice, columns).filter(|of| of.kind == Kind::Int)?;
    let call = ["sum", "max", "min"][dice.random_range(0..3)];
    let (weir, duck) = (format!("{call}({})", of.weir), format!("{call}({})", of.duck));
    Some(Call { name, weir, duck, kind: Kind::Int, how: How::Exact, fails: of.fails, adds_up: call == "sum" })
}

fn count_rows(name: String) -> Call {
    let text = || "count(*)".to_owned();
    Call { name, weir: text(), duck: text(), kind: Kind::Int, how: How::Exact, fails: None, adds_up: true }
}

/// A value over the rows that a condition is true for.
struct Over<'a> {
    condition: Option<&'a Expr>,
}

impl Over<'_> {
    fn weir(&self, call: String) -> String {
        match self.condition {
            None => call,
            Some(condition) => format!("{call} filter (where {})", condition.weir),
        }
    }

    /// With further conditions.
    fn duck(&self, call: &str, more: &[String]) -> String {
        let own = self.condition.map(|condition| format!("({})", condition.duck));
        let all: Vec<String> = own.into_iter().chain(more.iter().cloned()).collect();
        if all.is_empty() { call.to_owned() } else { format!("{call} filter (where {})", all.join(" and ")) }
    }
}

fn one(dice: &mut StdRng, columns: &[Column], conditions: &[Expr], name: String) -> Option<Call> {
    let exact: Vec<&Column> =
        columns.iter().filter(|column| column.how == How::Exact && !matches!(column.kind, Kind::List(_))).collect();
    let is_filtered = !conditions.is_empty() && dice.random_range(0..4) == 0;
    let over = Over { condition: is_filtered.then(|| &conditions[dice.random_range(0..conditions.len())]) };
    let mut of = |kinds: &[Kind]| {
        let fit: Vec<&Column> = exact.iter().copied().filter(|column| kinds.contains(&column.kind)).collect();
        (!fit.is_empty()).then(|| fit[dice.random_range(0..fit.len())].clone())
    };
    let number = of(&[Kind::Int, Kind::Float]);
    let other_number = of(&[Kind::Int, Kind::Float]);
    let whole = of(&[Kind::Int, Kind::Big]);
    let summed = of(&[Kind::Int, Kind::Big, Kind::Float, Kind::Decimal, Kind::Odd]);
    let odd = of(&[Kind::Odd]);
    let truth = of(&[Kind::Bool]);
    let any = of(&[Kind::Text, Kind::Int, Kind::Big, Kind::Float, Kind::Odd, Kind::Bool, Kind::Time, Kind::Decimal]);
    let by = of(&[Kind::Int, Kind::Float, Kind::Time, Kind::Text, Kind::Big]);
    let plain = |weir: String, duck: String, kind: Kind, how: How| {
        Some(Call { name: name.clone(), weir: over.weir(weir), duck, kind, how, fails: None, adds_up: false })
    };
    let same = |call: String, kind: Kind, how: How| {
        let duck = over.duck(&call, &[]);
        plain(call, duck, kind, how)
    };
    let picked = dice.random_range(0..27);
    match picked {
        0 => any.and_then(|x| same(format!("count({})", x.name), Kind::Int, How::Exact)).map(added_up),
        1 => same("count(*)".to_owned(), Kind::Int, How::Exact).map(added_up),
        2 | 3 => sum(&over, summed.as_ref()?, &name),
        4 | 5 => any.and_then(|x| same(format!("min({})", x.name), x.kind, How::Exact)),
        6 => any.and_then(|x| same(format!("max({})", x.name), x.kind, How::Exact)),
        7 => any.and_then(|x| same(format!("count(distinct {})", x.name), Kind::Int, How::Exact)),
        8 => mean(&over, summed.as_ref()?, &name),
        9 => {
            let x = any?.name;
            let duck = over.duck(&format!("count(distinct {x})"), &[]);
            plain(format!("approx_distinct({x})"), duck, Kind::Int, How::About)
        }
        10..=13 => {
            let (weir, duck) =
                [("stddev", "stddev_samp"), ("stddev_pop", "stddev_pop"), ("var", "var_samp"), ("var_pop", "var_pop")]
                    [picked as usize - 10];
            let x = number?.name;
            let duck = over.duck(&format!("{duck}({x})"), &[]);
            plain(format!("{weir}({x})"), duck, Kind::Odd, How::Near(1e-9))
        }
        14 => {
            let (weir, duck) = [("covar", "covar_samp"), ("covar_pop", "covar_pop")][dice.random_range(0..2)];
            let (x, y) = (number?.name, other_number?.name);
            let duck = over.duck(&format!("{duck}({x}, {y})"), &[]);
            plain(format!("{weir}({x}, {y})"), duck, Kind::Odd, How::Near(1e-9))
        }
        15 => correlation(&over, &number?.name, &other_number?.name, &name),
        16 => {
            let call = ["bool_and", "bool_or"][dice.random_range(0..2)];
            same(format!("{call}({})", truth?.name), Kind::Bool, How::Exact)
        }
        17 => {
            let call = ["bit_and", "bit_or", "bit_xor"][dice.random_range(0..3)];
            same(format!("{call}({})", whole?.name), Kind::Big, How::Exact)
        }
        18 => {
            let x = number?.name;
            let duck = over.duck(&format!("median({x})"), &[]);
            plain(format!("median({x})"), duck, Kind::Float, How::Near(1e-12))
        }
        19 => {
            let (x, part) = (number?.name, [0.0, 0.25, 0.9, 1.0][dice.random_range(0..4)]);
            let duck = over.duck(&format!("quantile_cont({x}, {part})"), &[]);
            let weir = [
                format!("percentile_cont({x}, {part})"),
                format!("percentile_cont({part}) within group (order by {x})"),
            ];
            plain(weir[dice.random_range(0..2)].clone(), duck, Kind::Odd, How::Near(1e-12))
        }
        20 => {
            let (x, part) = (number?.name, [0.1, 0.5, 0.95][dice.random_range(0..3)]);
            let duck = over.duck(&format!("list({x})"), &[format!("{x} is not null")]);
            plain(format!("approx_percentile_cont({x}, {part})"), duck, Kind::Odd, How::PartOfList(part))
        }
        21 | 22 => {
            let x = any?;
            let (call, way) = [("first_value", "asc"), ("last_value", "desc")][dice.random_range(0..2)];
            let duck = format!("first({0} order by {{time}} {way}, {0} {way})", x.name);
            let duck = over.duck(&duck, &[format!("{} is not null", x.name)]);
            plain(format!("{call}({})", x.name), duck, x.kind, How::Exact)
        }
        23 | 24 => {
            let (x, y) = (any?, by?.name);
            let (call, order) =
                [("min_by", format!("{y}, {}", x.name)), ("max_by", format!("{y} desc, {} desc", x.name))]
                    [dice.random_range(0..2)]
                .clone();
            let duck = format!("first({} order by {order})", x.name);
            let duck = over.duck(&duck, &[format!("{} is not null", x.name), format!("{y} is not null")]);
            plain(format!("{call}({}, {y})", x.name), duck, x.kind, How::Exact)
        }
        25 => {
            let x = any?;
            let most = dice.random_range(1..6);
            let duck = over.duck(&format!("list({0} order by {{time}}, {0} nulls first)", x.name), &[]);
            let kind = Kind::List(Box::new(x.kind));
            plain(format!("array_agg({}, {most})", x.name), format!("({duck})[1:{most}]"), kind, How::Exact)
        }
        _ => {
            let x = odd.or(any)?;
            let duck = over.duck(&format!("list(distinct {0} order by {0} nulls first)", x.name), &[]);
            let kind = Kind::List(Box::new(x.kind));
            plain(format!("array_agg(distinct {})", x.name), duck, kind, How::Exact)
        }
    }
}

fn added_up(call: Call) -> Call {
    Call { adds_up: true, ..call }
}

/// Of floats in general DuckDB's own sum is rounded at each step.
fn sum(over: &Over<'_>, x: &Column, name: &str) -> Option<Call> {
    let (duck, kind, how) = match x.kind {
        Kind::Odd => (format!("list({})", x.name), Kind::Odd, How::SumOfList),
        Kind::Int => (format!("sum({})", x.name), Kind::Int, How::Exact),
        _ => (format!("sum({})", x.name), x.kind.clone(), How::Exact),
    };
    let more: &[String] = if x.kind == Kind::Odd { &[format!("{} is not null", x.name)] } else { &[] };
    let duck = over.duck(&duck, more);
    let weir = over.weir(format!("sum({})", x.name));
    Some(Call { name: name.to_owned(), weir, duck, adds_up: kind == Kind::Int, kind, how, fails: None })
}

fn mean(over: &Over<'_>, x: &Column, name: &str) -> Option<Call> {
    let duck = over.duck(&format!("list({})", x.name), &[format!("{} is not null", x.name)]);
    let weir = over.weir(format!("avg({})", x.name));
    let (kind, how) = (Kind::Odd, How::MeanOfList);
    Some(Call { name: name.to_owned(), weir, duck, kind, how, fails: None, adds_up: false })
}

/// DuckDB says NaN, or an error, where one of the two does not vary.
fn correlation(over: &Over<'_>, x: &str, y: &str, name: &str) -> Option<Call> {
    let both = [format!("{x} is not null"), format!("{y} is not null")];
    let varies = |x: &str| format!("{} > 1", over.duck(&format!("count(distinct {x})"), &both));
    let corr = over.duck(&format!("corr({x}, {y})"), &both);
    let duck = format!("case when {} and {} then {corr} end", varies(x), varies(y));
    let weir = over.weir(format!("corr({x}, {y})"));
    let (kind, how) = (Kind::Odd, How::Near(1e-9));
    Some(Call { name: name.to_owned(), weir, duck, kind, how, fails: None, adds_up: false })
}

//! Expressions over columns. Most say the same in a definition and in DuckDB; where the two dialects part (whole division, casts
//! that fail), each is told in its own.

use super::job::{Column, Expr, How, Kind};
use rand::{RngExt, rngs::StdRng};

/// One that is the same in both.
pub fn same(text: impl Into<String>, kind: Kind) -> Expr {
    let weir = text.into();
    Expr { duck: weir.clone(), weir, kind, fails: None }
}

/// A column of one of these kinds, if there is one that may be computed with.
pub fn column<'a>(dice: &mut StdRng, columns: &'a [Column], kinds: &[Kind]) -> Option<&'a Column> {
    let fit: Vec<&Column> =
        columns.iter().filter(|column| column.how == How::Exact && kinds.contains(&column.kind)).collect();
    (!fit.is_empty()).then(|| fit[dice.random_range(0..fit.len())])
}

/// A condition that fails on no row.
pub fn condition(dice: &mut StdRng, columns: &[Column]) -> Option<Expr> {
    let one = comparison(dice, columns)?;
    let text = match (dice.random_range(0..5), comparison(dice, columns)) {
        (0, Some(other)) => format!("({one}) and ({other})"),
        (1, Some(other)) => format!("({one}) or ({other})"),
        (2, _) => format!("not ({one})"),
        _ => one,
    };
    Some(same(text, Kind::Bool))
}

fn comparison(dice: &mut StdRng, columns: &[Column]) -> Option<String> {
    let number = dice.random_range(-10..90);
    let x = |dice: &mut StdRng, kind: Kind| column(dice, columns, &[kind]).map(|column| column.name.clone());
    let text = match dice.random_range(0..9) {
        0 => format!("{} <> ''", x(dice, Kind::Text)?),
        1 => format!("{} is not null", column(dice, columns, &[Kind::Text, Kind::Big, Kind::Odd, Kind::Decimal])?.name),
        2 => x(dice, Kind::Bool)?,
        3 => format!("{} between {number} and {}", x(dice, Kind::Int)?, number + 60),
        4 => format!("{} % 3 <> 1", x(dice, Kind::Int)?),
        5 => format!("{} >= {}.25", x(dice, Kind::Float)?, number / 3),
        6 => format!("{} in ('east', 'ann', 'bob', 'west')", x(dice, Kind::Text)?),
        7 => format!("{} like '%o%'", x(dice, Kind::Text)?),
        _ => format!("coalesce({}, 0) > {number}", x(dice, Kind::Int)?),
    };
    Some(text)
}

/// A value that fails on no row, computed from columns.
pub fn value(dice: &mut StdRng, columns: &[Column]) -> Option<Expr> {
    let text = |dice: &mut StdRng| column(dice, columns, &[Kind::Text]).map(|column| column.name.clone());
    let int = |dice: &mut StdRng| column(dice, columns, &[Kind::Int]).map(|column| column.name.clone());
    Some(match dice.random_range(0..13) {
        0 => same(format!("{} + {}", int(dice)?, int(dice)?), Kind::Int),
        1 => same(format!("{} * {}", int(dice)?, dice.random_range(-3..8)), Kind::Int),
        2 => same(format!("coalesce({}, -1)", int(dice)?), Kind::Int),
        3 => {
            let (x, by) = (int(dice)?, dice.random_range(2..9));
            // DuckDB's whole division rounds down, SQL's drops the fraction.
            let duck = format!("cast(trunc({x} / {by}.0) as bigint)");
            Expr { weir: format!("{x} / {by}"), duck, kind: Kind::Int, fails: None }
        }
        4 => same(format!("case when {} then {} else 0 end", condition(dice, columns)?.weir, int(dice)?), Kind::Int),
        5 => same(format!("{} || '!'", text(dice)?), Kind::Text),
        6 => same(format!("coalesce({}, 'nobody')", text(dice)?), Kind::Text),
        7 => same(format!("substr({}, 1, 2)", text(dice)?), Kind::Text),
        8 => same(format!("replace({}, 'o', '00')", text(dice)?), Kind::Text),
        9 => same(format!("cast(length({}) as bigint)", text(dice)?), Kind::Int),
        10 => same(format!("{} - 0.5", column(dice, columns, &[Kind::Float])?.name), Kind::Float),
        11 => same(format!("cast({} as double) / 4", int(dice)?), Kind::Float),
        _ => Expr { kind: Kind::Bool, ..condition(dice, columns)? },
    })
}

/// A value that fails on some rows, if the columns are there.
pub fn failing(dice: &mut StdRng, columns: &[Column]) -> Option<Expr> {
    let is_there = |name: &str| columns.iter().any(|column| column.name == name);
    match dice.random_range(0..3) {
        0 if is_there("code") => {
            // DuckDB casts '1.5', too.
            let duck = "case when regexp_full_match(code, '-?[0-9]+') then try_cast(code as bigint) end".to_owned();
            let fails = Some(format!("code is not null and ({duck}) is null"));
            Some(Expr { weir: "cast(code as bigint)".into(), duck, kind: Kind::Int, fails })
        }
        1 if is_there("big") && is_there("n") => {
            let duck = "try_cast(big::hugeint + n::hugeint as bigint)".to_owned();
            let fails = Some(format!("big is not null and n is not null and ({duck}) is null"));
            Some(Expr { weir: "big + n".into(), duck, kind: Kind::Big, fails })
        }
        _ => {
            let x = &column(dice, columns, &[Kind::Int])?.name;
            let by = dice.random_range(0..6);
            let duck = format!("cast(trunc(600 / nullif({x} - {by}, 0)) as bigint)");
            let fails = Some(format!("coalesce({x} = {by}, false)"));
            Some(Expr { weir: format!("600 / ({x} - {by})"), duck, kind: Kind::Int, fails })
        }
    }
}

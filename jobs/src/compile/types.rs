//! Columns and their types at every output, found by following the data from the sources down.
//!
//! Every expression, key and column name is checked here. A node with a mistake has no types, and what stands behind it
//! is not checked any further: its mistakes would be echoes.

use arrow::datatypes::DataType;
use weir_engine::element::Port;
use weir_operators::event_time::event_time_type;
use weir_operators::expression::{AggregateCall, AggregateFunction, Expression, parse_select_item};
use weir_operators::filters::FILTER_ID;
use weir_operators::map::SelectItem;
use weir_operators::schema::{Column, ColumnSchema};

use super::gates::Gates;
use super::plan::AggregateStep;
use super::resolve::{Resolved, path_of};
use super::sources::source_schema;
use crate::diagnose::Mistake;
use crate::key_path::KeyPath;
use crate::spec::{Aggregate, Dedup, JobSpec, Map, NodeBody, Reduce, Sink, SinkConnector, Source, Window};

/// Columns that every aggregate puts out beside its keys and aggregates.
pub(super) const RECORD_ID: &str = "record_id";
pub(super) const WINDOW_START: &str = "window_start";
pub(super) const WINDOW_END: &str = "window_end";
pub(super) const REVISION: &str = "revision";
/// The place of a row in a reduce's output.
pub(super) const RANK: &str = "rank";

/// What a node puts out.
#[derive(Debug, Clone)]
pub(super) struct Types {
    /// Columns of the main output; of a sink, the columns it writes.
    pub(super) main: ColumnSchema,
    /// The column that says when a row happened, where rows are still events.
    pub(super) event_time: Option<String>,
    /// The items of a map, or of a sink's `select`.
    pub(super) select: Option<Vec<SelectItem>>,
    /// Whether rows are results, which later revisions correct, and no events.
    pub(super) results: bool,
}

/// The types of all nodes; none where a node, or one before it, has a mistake.
#[derive(Debug)]
pub(super) struct AllTypes(pub(super) Vec<Option<Types>>);

impl AllTypes {
    /// Types of an output, as its readers see them: the rows of a late output are those that came to the gate.
    pub(super) fn of_output(&self, resolved: &Resolved<'_>, gates: &Gates, node: usize, port: Port) -> Option<Types> {
        match port {
            Port::Main => self.0[node].clone(),
            Port::Late => {
                let before = resolved.inputs[gates.of(node)?.before]?;
                self.0[before.node].clone()
            }
            Port::DeadLetters => Some(Types {
                main: super::sources::dead_letter_schema(),
                event_time: None,
                select: None,
                results: false,
            }),
        }
    }
}

/// Infers and checks the types of all nodes.
pub(super) fn infer(resolved: &Resolved<'_>, gates: &Gates, mistakes: &mut Vec<Mistake>) -> AllTypes {
    let mut types = AllTypes(vec![None; resolved.spec.nodes.len()]);
    for &index in &resolved.order {
        let node = resolved.node(index);
        let path = path_of(node);
        let before = mistakes.len();
        let inferred = match (&node.body, resolved.inputs[index]) {
            (NodeBody::Source(source), _) => infer_source(source, &path, mistakes),
            (body, Some(input)) => {
                let Some(given) = types.of_output(resolved, gates, input.node, input.port) else { continue };
                let mut check = Check { spec: resolved.spec, path, given, mistakes };
                match body {
                    NodeBody::Map(map) => check.map(map),
                    NodeBody::Dedup(dedup) => check.dedup(dedup),
                    NodeBody::Aggregate(aggregate) => check.aggregate(aggregate),
                    NodeBody::Reduce(reduce) => check.reduce(reduce, &resolved.node(input.node).body, input.port),
                    NodeBody::Sink(sink) => check.sink(sink),
                    NodeBody::Source(_) => None,
                }
            }
            _ => None,
        };
        if mistakes.len() == before {
            types.0[index] = inferred;
        }
    }
    check_filters(resolved, gates, &types, mistakes);
    types
}

fn infer_source(source: &Source, path: &KeyPath, mistakes: &mut Vec<Mistake>) -> Option<Types> {
    let main = source_schema(source, path, mistakes)?;
    if let Some(name) = &source.event_time {
        match main.column(name) {
            None => mistakes.push(unknown_column(path.key("event_time"), name, &main)),
            Some(column) if column.data_type != event_time_type() => {
                let message = format!("the event time `{name}` is {}", type_name(&column.data_type));
                mistakes.push(Mistake::new(path.key("event_time"), message).expected("a column of type timestamp"));
            }
            Some(_) => {}
        }
    }
    Some(Types { main, event_time: source.event_time.clone(), select: None, results: false })
}

/// The types of an aggregate's input: with `filter_id` where the global filters add it.
pub(super) fn adds_filters(spec: &JobSpec, aggregate: &Aggregate) -> bool {
    !spec.filters.is_empty() && aggregate.key.iter().any(|column| column == FILTER_ID)
}

/// One node being checked.
struct Check<'a> {
    spec: &'a JobSpec,
    path: KeyPath,
    given: Types,
    mistakes: &'a mut Vec<Mistake>,
}

impl Check<'_> {
    fn map(&mut self, map: &Map) -> Option<Types> {
        let input = self.given.main.to_arrow();
        if let Some(condition) = &map.condition
            && let Err(error) = Expression::predicate(condition, &input)
        {
            self.mistakes.push(Mistake::in_expression(self.path.key("where"), &error));
        }
        let Some(select) = &map.select else {
            return Some(Types { select: None, ..self.given.clone() });
        };
        let place = self.path.key("select");
        let items: Vec<(KeyPath, SelectItem)> = select
            .iter()
            .map(|(name, expression)| {
                (place.key(name), SelectItem { name: name.clone(), expression: expression.clone() })
            })
            .collect();
        self.select(items)
    }

    /// The output of a list of computed columns.
    fn select(&mut self, items: Vec<(KeyPath, SelectItem)>) -> Option<Types> {
        let input = self.given.main.to_arrow();
        let mut columns: Vec<Column> = Vec::with_capacity(items.len());
        let mut event_time = None;
        for (place, item) in &items {
            if columns.iter().any(|column| column.name == item.name) {
                let message = format!("there are two columns `{}`", item.name);
                self.mistakes.push(Mistake::on_key(place.clone(), message));
                continue;
            }
            match Expression::new(&item.expression, &input) {
                Ok(expression) => {
                    if event_time.is_none() && expression.as_column() == self.given.event_time.as_deref() {
                        event_time = Some(item.name.clone()).filter(|_| self.given.event_time.is_some());
                    }
                    let (data_type, nullable) = (expression.data_type().clone(), expression.nullable());
                    columns.push(Column { name: item.name.clone(), data_type, nullable });
                }
                Err(error) => self.mistakes.push(Mistake::in_expression(place.clone(), &error)),
            }
        }
        let select = Some(items.into_iter().map(|(_, item)| item).collect());
        Some(Types { main: ColumnSchema { columns }, event_time, select, results: self.given.results })
    }

    fn dedup(&mut self, dedup: &Dedup) -> Option<Types> {
        self.key(&dedup.key, &self.given.main.clone());
        self.needs_event_time();
        Some(Types { select: None, ..self.given.clone() })
    }

    /// The columns of a key: there, each once, at least one, and of types that are alike in every representation.
    fn key(&mut self, key: &[String], columns: &ColumnSchema) {
        let place = self.path.key("key");
        if key.is_empty() && self.mistakes.iter().all(|mistake| mistake.path != self.path) {
            self.mistakes.push(Mistake::new(place.clone(), "the key is empty").expected("at least one column"));
        }
        for (position, name) in key.iter().enumerate() {
            let place = place.index(position);
            if key[..position].contains(name) {
                self.mistakes.push(Mistake::new(place, format!("`{name}` is in the key twice")));
                continue;
            }
            match columns.column(name) {
                None if name == FILTER_ID => self.mistakes.push(
                    Mistake::new(place, "there is no `filter_id`: no filters are defined")
                        .expected("a section [filters], such as \"0000\" = \"true\", or a key without `filter_id`"),
                ),
                None => self.mistakes.push(unknown_column(place, name, columns)),
                Some(column)
                    if matches!(column.data_type, DataType::Float16 | DataType::Float32 | DataType::Float64) =>
                {
                    let mistake = Mistake::new(place, format!("`{name}` is a floating-point number"));
                    self.mistakes.push(mistake.expected("a column whose values are equal or not, without rounding"));
                }
                Some(_) => {}
            }
        }
    }

    fn needs_event_time(&mut self) {
        if self.given.results {
            let message =
                "its rows are results, which later revisions correct; they can't be counted or compared as events";
            let expected = "the name of a source, a map or a dedup before any aggregate";
            self.mistakes.push(Mistake::new(self.path.key("input"), message).expected(expected));
        } else if self.given.event_time.is_none() {
            let message = "its rows have no event time";
            let expected =
                "`event_time = \"a column\"` in the source, and that column in the `select` of every map between";
            self.mistakes.push(Mistake::on_key(self.path.clone(), message).expected(expected));
        }
    }

    fn aggregate(&mut self, aggregate: &Aggregate) -> Option<Types> {
        let mut input = self.given.main.clone();
        if adds_filters(self.spec, aggregate) {
            if input.column(FILTER_ID).is_some() {
                let message = "its input has a column `filter_id` already, and [filters] would add another";
                self.mistakes.push(Mistake::on_key(self.path.clone(), message));
                return None;
            }
            input.columns.push(Column { name: FILTER_ID.into(), data_type: DataType::Utf8, nullable: false });
        }
        self.key(&aggregate.key, &input);
        self.needs_event_time();
        self.window(aggregate.window);
        let results = aggregate.select.iter().filter_map(|(name, call)| {
            let (data_type, nullable) = self.call(name, call, &input)?;
            Some(Column { name: name.clone(), data_type, nullable })
        });
        let results: Vec<Column> = results.collect();
        let columns = aggregate_output(aggregate, results, &input).columns;
        self.unique(&columns, "select");
        Some(Types { main: ColumnSchema { columns }, event_time: None, select: None, results: true })
    }

    /// Type and nullability of an aggregate.
    fn call(&mut self, name: &str, text: &str, input: &ColumnSchema) -> Option<(DataType, bool)> {
        let place = self.path.key("select").key(name);
        let call = match AggregateCall::parse(text) {
            Ok(call) => call,
            Err(error) => {
                self.mistakes.push(Mistake::in_expression(place, &error));
                return None;
            }
        };
        let argument = match &call.argument {
            None => None,
            Some(argument) => match Expression::new(argument, &input.to_arrow()) {
                Ok(expression) => Some(expression.data_type().clone()),
                Err(error) => {
                    // Positions within the argument are not positions within the call.
                    let mut mistake = Mistake::in_expression(place, &error);
                    mistake.position = None;
                    self.mistakes.push(mistake);
                    return None;
                }
            },
        };
        let result = result_type(call.function, argument.as_ref());
        if result.is_none() {
            let given = argument.as_ref().map_or_else(|| "nothing".into(), type_name);
            let message = format!("`{}` can't be computed of {given}", call.function);
            self.mistakes.push(Mistake::new(place, message).found(text));
        }
        result
    }

    fn window(&mut self, window: Window) {
        if let Window::Hopping { size, slide } = window
            && (slide.is_zero() || !size.as_millis().is_multiple_of(slide.as_millis()))
        {
            let found = format!("{} by {}", crate::duration::show(size), crate::duration::show(slide));
            let mistake = Mistake::new(self.path.key("window"), "a window's size must be a multiple of its slide");
            self.mistakes.push(mistake.found(found).expected("such as { hopping = \"5m\", slide = \"1m\" }"));
        }
    }

    fn unique(&mut self, columns: &[Column], key: &str) {
        for (position, column) in columns.iter().enumerate() {
            if columns[..position].iter().any(|other| other.name == column.name) {
                let message = format!("two columns would be called `{}`", column.name);
                let mistake = Mistake::on_key(self.path.key(key).key(&column.name), message);
                let own = [RECORD_ID, WINDOW_START, WINDOW_END, REVISION].join(", ");
                self.mistakes.push(mistake.expected(format!("a name that is not in the key and none of {own}")));
            }
        }
    }

    fn reduce(&mut self, reduce: &Reduce, input: &NodeBody, port: Port) -> Option<Types> {
        let NodeBody::Aggregate(aggregate) = input else {
            return self.not_an_aggregate(input.kind());
        };
        if port != Port::Main {
            return self.not_an_aggregate(&format!("`{}` output", port.name()));
        }
        let names: Vec<&str> = aggregate.select.iter().map(|(name, _)| name.as_str()).collect();
        let top = self.path.key("top");
        let by = self.given.main.column(&reduce.by).filter(|_| names.contains(&reduce.by.as_str())).cloned();
        match &by {
            None => {
                let mistake = Mistake::new(top.key("by"), format!("the aggregate computes no `{}`", reduce.by));
                self.mistakes.push(mistake.one_of("columns", &names).meant(&reduce.by, &names));
            }
            Some(column) if column.data_type != DataType::Int64 || !adds_up(aggregate, &reduce.by) => {
                let message = format!("`{}` can't be added up over windows", reduce.by);
                self.mistakes.push(Mistake::new(top.key("by"), message).expected("a count, or a sum of whole numbers"));
            }
            Some(_) => {}
        }
        for (position, name) in reduce.per.iter().enumerate() {
            if !aggregate.key.contains(name) {
                let mistake = Mistake::new(top.key("per").index(position), format!("the key has no `{name}`"));
                self.mistakes.push(mistake.one_of("columns", &aggregate.key).meant(name, &aggregate.key));
            }
        }
        if aggregate.key.iter().all(|name| reduce.per.contains(name)) {
            let message = "nothing is left to be ranked: all key columns stand in `per`";
            self.mistakes
                .push(Mistake::new(top.key("per"), message).expected("not all columns of the aggregate's key"));
        }
        self.reduce_window(reduce, aggregate);
        let columns = reduce_columns(reduce, aggregate, &self.given.main).columns;
        self.unique(&columns, "top");
        Some(Types { main: ColumnSchema { columns }, event_time: None, select: None, results: true })
    }

    fn not_an_aggregate(&mut self, found: &str) -> Option<Types> {
        let mistake = Mistake::new(self.path.key("input"), "a reduce ranks the groups of an aggregate");
        self.mistakes.push(mistake.found(format!("a {found}")).expected("the name of an aggregate"));
        None
    }

    /// The windows of an aggregate can be put together to longer ones if they lie side by side, and are pieces of those.
    fn reduce_window(&mut self, reduce: &Reduce, aggregate: &Aggregate) {
        let Window::Tumbling { size: piece } = aggregate.window else {
            let message = "it ranks over the windows of its aggregate, and those are not tumbling";
            let mistake = Mistake::new(self.path.key("input"), message);
            self.mistakes.push(mistake.expected("an aggregate with { tumbling = ... }; its `window` can be hopping"));
            return;
        };
        let Some(window) = reduce.window else { return };
        self.window(window);
        let (size, slide) = match window {
            Window::Tumbling { size } => (size, size),
            Window::Hopping { size, slide } => (size, slide),
            Window::Session { .. } => {
                let mistake = Mistake::new(self.path.key("window"), "sessions can't be put together of windows");
                self.mistakes.push(mistake.expected("a tumbling or a hopping window"));
                return;
            }
        };
        let fits = |length: std::time::Duration| length.as_millis().is_multiple_of(piece.as_millis().max(1));
        if !fits(size) || !fits(slide) {
            let message = "its windows don't consist of whole windows of the aggregate";
            let mistake = Mistake::new(self.path.key("window"), message);
            self.mistakes.push(mistake.expected(format!("multiples of {}", crate::duration::show(piece))));
        }
    }

    fn sink(&mut self, sink: &Sink) -> Option<Types> {
        let types = match &sink.select {
            None => Types { select: None, ..self.given.clone() },
            Some(items) => self.sink_select(items)?,
        };
        if let SinkConnector::Files(files) = &sink.connector {
            let place = self.path.key("partition_column");
            match &files.partition_column {
                Some(name) if !files.hourly => {
                    let mistake = Mistake::new(place, format!("`{name}` partitions nothing"));
                    self.mistakes.push(mistake.expected("`partition_by = \"hour\"` beside it"));
                }
                Some(name) => match types.main.column(name) {
                    None => self.mistakes.push(unknown_column(place, name, &types.main)),
                    Some(column) if column.data_type != event_time_type() => {
                        let message = format!("`{name}` is {}", type_name(&column.data_type));
                        self.mistakes.push(Mistake::new(place, message).expected("a column of type timestamp"));
                    }
                    Some(_) => {}
                },
                None if files.hourly && partition_column(&types).is_none() => {
                    let message = "it is not clear which column's hour is meant";
                    let mistake = Mistake::new(self.path.key("partition_by"), message);
                    self.mistakes.push(mistake.expected("`partition_column = \"a timestamp column\"` beside it"));
                }
                None => {}
            }
        }
        Some(types)
    }

    fn sink_select(&mut self, items: &[String]) -> Option<Types> {
        let place = self.path.key("select");
        let mut named = Vec::with_capacity(items.len());
        for (position, text) in items.iter().enumerate() {
            let place = place.index(position);
            match parse_select_item(text) {
                Ok((expression, Some(name))) => named.push((place, SelectItem { name, expression })),
                Ok((expression, None)) => {
                    let mistake = Mistake::new(place, "this column has no name");
                    self.mistakes.push(mistake.found(text).expected(format!("{expression} as a_name")));
                }
                Err(error) => self.mistakes.push(Mistake::in_expression(place, &error)),
            }
        }
        if items.is_empty() {
            self.mistakes.push(Mistake::new(place, "it writes no column").expected("at least one column"));
        }
        self.select(named)
    }
}

/// The timestamp column whose hour a sink's files are sorted by when none is named.
pub(super) fn partition_column(types: &Types) -> Option<&str> {
    if let Some(event_time) = &types.event_time {
        return Some(event_time);
    }
    let timestamps = || types.main.columns.iter().filter(|column| column.data_type == event_time_type());
    let start = timestamps().find(|column| column.name == WINDOW_START);
    let only = || timestamps().next().filter(|_| timestamps().count() == 1);
    start.or_else(only).map(|column| column.name.as_str())
}

fn aggregate_output(aggregate: &Aggregate, results: Vec<Column>, input: &ColumnSchema) -> ColumnSchema {
    let column = |name: &str, data_type: DataType| Column { name: name.into(), data_type, nullable: false };
    let mut columns = vec![column(RECORD_ID, DataType::FixedSizeBinary(16))];
    columns.extend(aggregate.key.iter().filter_map(|name| input.column(name)).cloned());
    columns.extend([column(WINDOW_START, event_time_type()), column(WINDOW_END, event_time_type())]);
    columns.extend(results);
    columns.push(column(REVISION, DataType::Int32));
    ColumnSchema { columns }
}

/// What an aggregate puts out, given its input with all arguments as columns.
pub(super) fn aggregate_columns(step: &AggregateStep<'_>, input: &ColumnSchema) -> ColumnSchema {
    let result = |(name, call): &(String, AggregateCall)| {
        let argument = call.argument.as_ref().and_then(|name| input.column(name)).map(|column| &column.data_type);
        let (data_type, nullable) = result_type(call.function, argument)?;
        Some(Column { name: name.clone(), data_type, nullable })
    };
    aggregate_output(step.aggregate, step.calls.iter().filter_map(result).collect(), input)
}

/// What a reduce puts out, given what its aggregate does.
pub(super) fn reduce_columns(reduce: &Reduce, aggregate: &Aggregate, given: &ColumnSchema) -> ColumnSchema {
    let per = reduce.per.iter().filter(|name| aggregate.key.contains(name));
    let rest = aggregate.key.iter().filter(|name| !reduce.per.contains(name));
    let own = [RECORD_ID, WINDOW_START, WINDOW_END];
    let column = |name: &str| given.column(name).cloned();
    let mut columns: Vec<Column> =
        own.into_iter().filter_map(column).chain(per.filter_map(|name| column(name))).collect();
    columns.push(Column { name: RANK.into(), data_type: DataType::Int32, nullable: false });
    columns.extend(rest.filter_map(|name| column(name)));
    columns.extend(column(&reduce.by));
    columns.extend(column(REVISION));
    ColumnSchema { columns }
}

/// The type of an aggregate over values of a type, and whether it may be null; none where it is not defined.
fn result_type(function: AggregateFunction, argument: Option<&DataType>) -> Option<(DataType, bool)> {
    match (function, argument) {
        (AggregateFunction::Count, _) | (AggregateFunction::ApproxDistinct, Some(_)) => Some((DataType::Int64, false)),
        (AggregateFunction::Sum, Some(of)) if of.is_integer() => Some((DataType::Int64, true)),
        (AggregateFunction::Sum | AggregateFunction::Avg, Some(of)) if of.is_floating() || of.is_integer() => {
            Some((DataType::Float64, true))
        }
        (AggregateFunction::Min | AggregateFunction::Max, Some(of)) if of.is_numeric() || of.is_temporal() => {
            Some((of.clone(), true))
        }
        _ => None,
    }
}

/// Whether a value over a window is the sum of those over its pieces.
fn adds_up(aggregate: &Aggregate, name: &str) -> bool {
    let call = aggregate.select.iter().find(|(other, _)| other == name).map(|(_, call)| AggregateCall::parse(call));
    matches!(call, Some(Ok(call)) if matches!(call.function, AggregateFunction::Count | AggregateFunction::Sum))
}

/// Filters are checked once for every place where they are inserted; the same mistake is reported once.
fn check_filters(resolved: &Resolved<'_>, gates: &Gates, types: &AllTypes, mistakes: &mut Vec<Mistake>) {
    let mut used = false;
    let mut found: Vec<Mistake> = Vec::new();
    for &index in &resolved.order {
        let NodeBody::Aggregate(aggregate) = &resolved.node(index).body else { continue };
        if !adds_filters(resolved.spec, aggregate) {
            continue;
        }
        used = true;
        let Some(input) = resolved.inputs[index] else { continue };
        let Some(given) = types.of_output(resolved, gates, input.node, input.port) else { continue };
        for (id, condition) in &resolved.spec.filters {
            if let Err(error) = Expression::predicate(condition, &given.main.to_arrow()) {
                let mistake = Mistake::in_expression(KeyPath::of(["filters", id]), &error);
                if !found.iter().any(|other| other.path == mistake.path) {
                    found.push(mistake);
                }
            }
        }
    }
    if !used && !resolved.spec.filters.is_empty() {
        let message = "no aggregate has `filter_id` in its key, so the filters do nothing";
        found.push(Mistake::warning(KeyPath::of(["filters"]), message));
    }
    mistakes.extend(found);
}

/// A name that no column bears.
pub(super) fn unknown_column(path: KeyPath, name: &str, columns: &ColumnSchema) -> Mistake {
    let names: Vec<&str> = columns.names().collect();
    Mistake::new(path, format!("there is no column `{name}`")).one_of("columns", &names).meant(name, &names)
}

/// A type in the words of a definition, where it has some.
pub(super) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 => "a string".into(),
        DataType::Int64 => "an int".into(),
        DataType::Float64 => "a float".into(),
        DataType::Boolean => "a bool".into(),
        other if *other == event_time_type() => "a timestamp".into(),
        DataType::Date32 => "a date".into(),
        other => format!("of type {other}"),
    }
}

//! The checks of one node: keys, expressions and windows against the columns that come in, and what goes out.

use arrow::datatypes::DataType;
use weir_operators::aggregate::is_defined;
use weir_operators::columns::{RECORD_ID, REVISION, WINDOW_END, WINDOW_START, WITHDRAWN};
use weir_operators::event_time::event_time_type;
use weir_operators::expression::{AggregateCall, AggregateFunction, Expression, parse_select_item, type_name};
use weir_operators::filters::FILTER_ID;
use weir_operators::map::SelectItem;
use weir_operators::schema::{Column, ColumnSchema};
use weir_operators::sink::files::can_be_written;
use weir_operators::table::can_be_key;
use weir_operators::window::MOST_WINDOWS;

use super::aggregate_step::{AggregateStep, function};
use super::plan::quoted;
use super::prune::selected;
use super::reduce_step::ReduceStep;
use super::results::{Results, carried_by_map, carried_by_sink, is_column};
use super::types::{TimeLost, Types, adds_filters, partition_column, unknown_column};
use crate::spec::{Aggregate, Dedup, JobSpec, Map, Reduce, Sink, SinkConnector, Window};
use weir_operators::definition::KeyPath;
use weir_operators::definition::Mistake;

/// One node being checked.
pub(super) struct Check<'a> {
    pub(super) spec: &'a JobSpec,
    pub(super) path: KeyPath,
    /// What comes in.
    pub(super) given: Types,
    pub(super) mistakes: &'a mut Vec<Mistake>,
}

impl Check<'_> {
    pub(super) fn map(&mut self, map: &Map) -> Option<Types> {
        let input = self.given.main.to_arrow();
        let condition = map.condition.as_ref().map(|condition| Expression::predicate(condition, &input));
        let condition = condition.transpose().unwrap_or_else(|error| {
            self.mistakes.push(Mistake::in_expression(self.path.key("where"), &error));
            None
        });
        if let Some(results) = &self.given.results {
            self.given.results = Some(results.kept_by(condition.as_ref()));
        }
        let Some(select) = &map.select else {
            let mut types = Types { select: None, ..self.given.clone() };
            if let Some(results) = &types.results {
                types.main = results.nullable(types.main);
            }
            return Some(types);
        };
        let place = self.path.key("select");
        let items: Vec<(KeyPath, SelectItem)> = select
            .iter()
            .map(|(name, expression)| {
                (place.key(name), SelectItem { name: name.clone(), expression: expression.clone() })
            })
            .collect();
        let carried = if self.given.results.is_some() { carried_by_map() } else { &[] };
        self.select(items, carried)
    }

    /// Adds the columns that a `select` over results carries beside what it names: the record's id in front, the others behind.
    fn carry(&mut self, items: &mut Vec<(KeyPath, SelectItem)>, carried: &[&str]) {
        let is_another = |(_, item): &&(KeyPath, SelectItem)| item.name == WITHDRAWN && !is_column(item, WITHDRAWN);
        if let Some((place, item)) = items.iter().find(is_another).filter(|_| self.given.results.is_some()) {
            let mistake = Mistake::new(place.clone(), format!("results have a column `{WITHDRAWN}` of their own"));
            self.mistakes.push(mistake.found(&item.expression).expected("another name"));
            return;
        }
        for name in carried {
            let place = self.path.key("select").key(name);
            match items.iter().find(|(_, item)| item.name == *name) {
                Some((_, item)) if is_column(item, name) => {}
                Some((place, item)) => {
                    let mistake = Mistake::new(place.clone(), format!("results have a column `{name}` of their own"));
                    self.mistakes.push(mistake.found(&item.expression).expected("another name"));
                }
                None => {
                    let at = if *name == RECORD_ID { 0 } else { items.len() };
                    items.insert(at, (place, SelectItem { name: (*name).to_owned(), expression: quoted(name) }));
                }
            }
        }
    }

    /// The output of a list of computed columns.
    fn select(&mut self, mut items: Vec<(KeyPath, SelectItem)>, carried: &[&str]) -> Option<Types> {
        self.carry(&mut items, carried);
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
        let select: Vec<SelectItem> = items.into_iter().map(|(_, item)| item).collect();
        let results = self.given.results.as_ref().map(|results| results.selected(&select, &self.given.main));
        let main = ColumnSchema { columns };
        let main = match &results {
            Some(results) => results.nullable(main),
            None => main,
        };
        let time_lost = self.time_lost(event_time.as_deref(), &select);
        Some(Types { main, event_time, time_lost, select: Some(select), results })
    }

    /// What has become of the event time, if it does not come through a `select` as it is.
    fn time_lost(&self, kept: Option<&str>, select: &[SelectItem]) -> Option<TimeLost> {
        let column = self.given.event_time.as_deref().filter(|_| kept.is_none())?;
        let input = self.given.main.to_arrow();
        let reads = |item: &&SelectItem| {
            let expression = Expression::new(&item.expression, &input);
            item.name == column || expression.is_ok_and(|expression| expression.columns().any(|read| read == column))
        };
        let computed = select.iter().find(reads).map(|item| (item.name.clone(), item.expression.clone()));
        Some(TimeLost { node: self.path.clone(), column: column.to_owned(), computed })
    }

    pub(super) fn dedup(&mut self, dedup: &Dedup) -> Option<Types> {
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
                Some(column) if !can_be_key(&column.data_type) => {
                    let message = format!("`{name}` is {}, which no key can have in it", type_name(&column.data_type));
                    let expected =
                        "a text, a number without rounding, a time, bytes or truth; a `map` can make one of it";
                    self.mistakes.push(Mistake::new(place, message).expected(expected));
                }
                Some(_) => {}
            }
        }
    }

    fn needs_event_time(&mut self) {
        if self.given.results.is_some() {
            let message =
                "its rows are results, which later revisions correct; they can't be counted or compared as events";
            let expected = "the name of a source, a map or a dedup before any aggregate";
            self.mistakes.push(Mistake::new(self.path.key("input"), message).expected(expected));
        } else if self.given.event_time.is_none() {
            let (message, expected) = match &self.given.time_lost {
                None => {
                    ("its rows have no event time".to_owned(), "`event_time = \"a column\"` in the source".to_owned())
                }
                Some(TimeLost { node, column, computed: Some((name, expression)) }) => (
                    format!(
                        "its rows have no event time: `{node}` computes `{name} = {expression:?}`, which is another column"
                    ),
                    format!(
                        "`{column} = \"{column}\"` in that `select`; or in the source, where it is judged what is late: \
                         event_time = {{ name = {name:?}, expression = {expression:?} }}"
                    ),
                ),
                Some(TimeLost { node, column, computed: None }) => (
                    format!("its rows have no event time: the `select` of `{node}` leaves `{column}` out"),
                    format!("`{column} = \"{column}\"` in that `select`"),
                ),
            };
            self.mistakes.push(Mistake::on_key(self.path.clone(), message).expected(expected));
        }
    }

    pub(super) fn aggregate(&mut self, aggregate: &Aggregate) -> Option<Types> {
        let before = self.mistakes.len();
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
        for (name, call) in &aggregate.select {
            self.call(name, call, &input, adds_filters(self.spec, aggregate));
        }
        self.unique(aggregate);
        if self.mistakes.len() > before {
            return None;
        }
        let time = self.given.event_time.clone()?;
        let step = AggregateStep::new(aggregate, &time, &input);
        let input = step.arguments.as_ref().map_or(input.clone(), |items| selected(items, &input));
        let output = step.output(&input);
        let unsayable = output.as_ref().is_ok_and(|output| step.may_be_unsayable(output));
        self.accepted(output, Results::of_aggregate(aggregate, unsayable))
    }

    /// The results of an operator that has accepted its settings.
    fn accepted(&mut self, output: weir_engine::Result<ColumnSchema>, results: Results) -> Option<Types> {
        match output {
            Ok(main) => Some(Types { main, event_time: None, time_lost: None, select: None, results: Some(results) }),
            Err(error) => {
                self.mistakes.push(Mistake::on_key(self.path.clone(), error.message));
                None
            }
        }
    }

    /// One aggregate call: its function, its argument, and whether the two fit.
    fn call(&mut self, name: &str, text: &str, input: &ColumnSchema, adds_filters: bool) {
        let place = self.path.key("select").key(name);
        let call = match AggregateCall::parse(text) {
            Ok(call) => call,
            Err(error) => return self.mistakes.push(Mistake::in_expression(place, &error)),
        };
        let Some(argument) = &call.argument else { return };
        match Expression::new(argument, &input.to_arrow()) {
            Ok(expression)
                if adds_filters
                    && expression.as_column().is_none()
                    && expression.columns().any(|column| column == FILTER_ID) =>
            {
                let message = "an argument is computed before the filters, and can't read `filter_id`";
                let expected = "the conditions of the filters instead: `filter_id` is in the key";
                self.mistakes.push(Mistake::new(place, message).found(text).expected(expected));
            }
            Ok(expression) if !is_defined(function(call.function), expression.data_type()) => {
                let message = format!("`{}` is not defined for {}", call.function, type_name(expression.data_type()));
                self.mistakes.push(Mistake::new(place, message).found(text).expected(expected_of(call.function)));
            }
            Ok(_) => {}
            Err(error) => {
                // Positions within the argument are not positions within the call.
                let mistake = Mistake { position: None, ..Mistake::in_expression(place, &error) };
                self.mistakes.push(mistake);
            }
        }
    }

    fn window(&mut self, window: Window) {
        if let Window::Hopping { size, slide } = window
            && size.as_millis() / slide.as_millis().max(1) > u128::from(MOST_WINDOWS)
        {
            let windows = size.as_millis() / slide.as_millis().max(1);
            let found = format!(
                "{} by {}",
                weir_operators::definition::duration::show(size),
                weir_operators::definition::duration::show(slide)
            );
            let mistake = Mistake::new(self.path.key("window"), format!("each event would be in {windows} windows"));
            let expected = format!(
                "at most {MOST_WINDOWS} windows, as many as a week has minutes: a longer `slide`, or a shorter window"
            );
            self.mistakes.push(mistake.found(found).expected(expected));
            return;
        }
        if let Window::Hopping { size, slide } = window
            && (slide.is_zero() || !size.as_millis().is_multiple_of(slide.as_millis()))
        {
            let found = format!(
                "{} by {}",
                weir_operators::definition::duration::show(size),
                weir_operators::definition::duration::show(slide)
            );
            let mistake = Mistake::new(self.path.key("window"), "a window's size must be a multiple of its slide");
            self.mistakes.push(mistake.found(found).expected("such as { hopping = \"5m\", slide = \"1m\" }"));
        }
    }

    fn unique(&mut self, aggregate: &Aggregate) {
        let own = [RECORD_ID, WINDOW_START, WINDOW_END, REVISION, WITHDRAWN];
        for (position, (name, _)) in aggregate.select.iter().enumerate() {
            let twice = aggregate.select[..position].iter().any(|(other, _)| other == name);
            if twice || aggregate.key.contains(name) || own.contains(&name.as_str()) {
                let message = format!("two columns would be called `{name}`");
                let mistake = Mistake::on_key(self.path.key("select").key(name), message);
                let expected = format!("a name that is not in the key and none of {}", own.join(", "));
                self.mistakes.push(mistake.expected(expected));
            }
        }
    }

    pub(super) fn reduce(&mut self, reduce: &Reduce, ranked: Result<(&Aggregate, Vec<&Map>), String>) -> Option<Types> {
        let before = self.mistakes.len();
        let (aggregate, maps) = match ranked {
            Ok(ranked) => ranked,
            Err(found) => return self.not_an_aggregate(&found),
        };
        self.unchanged_between(reduce, aggregate, &maps);
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
        if self.mistakes.len() > before {
            return None;
        }
        let output = ReduceStep { reduce, aggregate }.output(&self.given.main);
        let results = Results::of_reduce(reduce, self.given.results.as_ref()?);
        self.accepted(output, results)
    }

    /// What is ranked must come through the maps between as the aggregate has made it.
    fn unchanged_between(&mut self, reduce: &Reduce, aggregate: &Aggregate, maps: &[&Map]) {
        let columns = aggregate.key.iter().map(String::as_str).chain([WINDOW_START, WINDOW_END, reduce.by.as_str()]);
        for name in columns {
            let keeps = |map: &&Map| {
                map.select.as_ref().is_none_or(|items| {
                    items
                        .iter()
                        .any(|(item, expression)| item == name && (expression == name || *expression == quoted(name)))
                })
            };
            if !maps.iter().all(keeps) {
                let message = format!("`{name}` does not come through as the aggregate has made it");
                let mistake = Mistake::new(self.path.key("input"), message);
                self.mistakes
                    .push(mistake.expected(format!("`{name} = \"{name}\"` in the `select` of the maps between")));
            }
        }
    }

    fn not_an_aggregate(&mut self, found: &str) -> Option<Types> {
        let mistake = Mistake::new(self.path.key("input"), "a reduce ranks the groups of an aggregate");
        self.mistakes
            .push(mistake.found(format!("a {found}")).expected("the name of an aggregate, or of a map behind one"));
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
            self.mistakes
                .push(mistake.expected(format!("multiples of {}", weir_operators::definition::duration::show(piece))));
        }
    }

    pub(super) fn sink(&mut self, sink: &Sink) -> Option<Types> {
        let types = match &sink.select {
            None => Types { select: None, ..self.given.clone() },
            Some(items) => self.sink_select(items, &sink.connector)?,
        };
        if let SinkConnector::Sql(sql) = &sink.connector {
            self.sql_sink(sink, sql, &types);
        }
        if let SinkConnector::Files(files) = &sink.connector {
            if files.path.trim().is_empty() {
                let mistake = Mistake::new(self.path.key("path"), "this names no folder");
                self.mistakes.push(mistake.found(format!("{:?}", files.path)).expected("a folder or a URL of its own"));
            }
            self.mistakes.extend(super::roll::mistake(files, &self.path, &types.main));
            for column in types.main.columns.iter().filter(|column| !can_be_written(&column.data_type)) {
                let place = self.path.key(if sink.select.is_some() { "select" } else { "input" });
                let message = format!("`{}` is {}, which no file holds", column.name, type_name(&column.data_type));
                let expected = "a `select` without it, or a `map` that makes something else of it";
                self.mistakes.push(Mistake::new(place, message).expected(expected));
            }
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

    fn sink_select(&mut self, items: &[String], connector: &SinkConnector) -> Option<Types> {
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
        let carried = match &self.given.results {
            Some(results) => {
                let selected: Vec<SelectItem> = named.iter().map(|(_, item)| item.clone()).collect();
                let results = results.selected(&selected, &self.given.main);
                carried_by_sink(connector, &selected, &results)
            }
            None => &[],
        };
        self.select(named, carried)
    }
}

fn expected_of(function: AggregateFunction) -> &'static str {
    match function {
        AggregateFunction::Min | AggregateFunction::Max => "a number, a date, a timestamp or a time",
        AggregateFunction::ApproxDistinct => "a value that is equal to another or not",
        _ => "a number",
    }
}

/// Whether a value over a window is the sum of those over its pieces.
pub(super) fn adds_up(aggregate: &Aggregate, name: &str) -> bool {
    let call = aggregate.select.iter().find(|(other, _)| other == name).map(|(_, call)| AggregateCall::parse(call));
    matches!(call, Some(Ok(call)) if matches!(call.function, AggregateFunction::Count | AggregateFunction::Sum))
}

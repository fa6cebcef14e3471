//! The functions that an expression can call, and the context that the SQL planner asks for them.
//!
//! Only functions whose result depends on nothing but their arguments are known: an expression must give the same
//! for the same row in every attempt and in every replay.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use datafusion_common::config::ConfigOptions;
use datafusion_common::{Result, TableReference, plan_err};
use datafusion_expr::planner::{ContextProvider, ExprPlanner};
use datafusion_expr::{AggregateUDF, HigherOrderUDF, ScalarUDF, TableSource, Volatility, WindowUDF};

use super::aggregate_function::AggregateFunction;

/// The scalar functions by name and alias, built once.
pub(super) static FUNCTIONS: LazyLock<Functions> = LazyLock::new(Functions::new);

/// Aggregates of common SQL dialects that there are none of here, named so that the error message can say where they would
/// belong.
const OTHER_AGGREGATES: [&str; 4] = ["any_value", "approx_count_distinct", "approx_median", "string_agg"];

/// What the planner knows: scalar functions and nothing else.
pub(super) struct Functions {
    options: ConfigOptions,
    scalar: BTreeMap<String, Arc<ScalarUDF>>,
    volatile: Vec<String>,
    planners: Vec<Arc<dyn ExprPlanner>>,
}

impl Functions {
    fn new() -> Self {
        let mut scalar = BTreeMap::new();
        let mut volatile = Vec::new();
        for function in datafusion_functions::all_default_functions() {
            let names = function.aliases().iter().cloned().chain([function.name().to_owned()]);
            if function.signature().volatility == Volatility::Immutable {
                scalar.extend(names.map(|name| (name, Arc::clone(&function))));
            } else {
                volatile.extend(names);
            }
        }
        let planners: Vec<Arc<dyn ExprPlanner>> = vec![
            Arc::new(datafusion_functions::core::planner::CoreFunctionPlanner::default()),
            Arc::new(datafusion_functions::datetime::planner::DatetimeFunctionPlanner),
            Arc::new(datafusion_functions::unicode::planner::UnicodeFunctionPlanner),
        ];
        Self { options: ConfigOptions::default(), scalar, volatile, planners }
    }

    /// Whether a scalar function of this name (in lower case) exists.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.scalar.contains_key(name)
    }

    /// Whether the name is that of a function which reads a clock or throws dice.
    pub(super) fn is_volatile(&self, name: &str) -> bool {
        self.volatile.iter().any(|volatile| volatile == name)
    }

    /// Whether the name is that of an aggregate function.
    pub(super) fn is_aggregate(name: &str) -> bool {
        AggregateFunction::of_name(name).is_some() || OTHER_AGGREGATES.contains(&name)
    }

    /// The names of all scalar functions, sorted.
    pub(super) fn names(&self) -> Vec<String> {
        self.scalar.keys().cloned().collect()
    }
}

/// A function, as documented for users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionNote {
    /// What it is about, such as `Math`.
    pub about: String,
    /// Its name, and other names for it.
    pub names: Vec<String>,
    /// How it is called.
    pub call: String,
    /// What it does, in a sentence.
    pub does: String,
}

/// All aggregates, in the order in which they are listed to people.
pub fn aggregates() -> Vec<FunctionNote> {
    let note = |function: AggregateFunction| FunctionNote {
        about: "Aggregates".into(),
        names: function.names().iter().map(|name| (*name).to_owned()).collect(),
        call: function.call().into(),
        does: function.does().into(),
    };
    AggregateFunction::all().map(note).collect()
}

/// A text without links into another page: `[this](#this)` is this.
fn without_links(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        let Some((_, after)) = after.split_once(')') else { break };
        match before.rsplit_once('[') {
            Some((before, label)) => plain.extend([before, label]),
            None => plain.push_str(before),
        }
        rest = after;
    }
    plain + rest
}

/// All functions that an expression can call, by what they are about and by name.
pub fn functions() -> Vec<FunctionNote> {
    let mut notes: Vec<FunctionNote> = Vec::new();
    for function in
        FUNCTIONS.scalar.iter().filter(|(name, function)| *name == function.name()).map(|(_, function)| function)
    {
        let documentation = function.documentation();
        let names = [function.name().to_owned()].into_iter().chain(function.aliases().iter().cloned());
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let sentence = |text: &str| {
            let text = without_links(&one_line(text));
            text.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned()
        };
        notes.push(FunctionNote {
            about: documentation
                .map_or("Other", |documentation| documentation.doc_section.label)
                .replace(" Functions", ""),
            names: names.collect(),
            call: documentation.map_or_else(String::new, |documentation| one_line(&documentation.syntax_example)),
            does: documentation.map_or_else(String::new, |documentation| sentence(&documentation.description)),
        });
    }
    notes.sort_by(|one, other| (&one.about, &one.names).cmp(&(&other.about, &other.names)));
    notes
}

impl ContextProvider for Functions {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        plan_err!("an expression reads no tables, and so not {name}")
    }
    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.planners
    }
    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.scalar.get(name).cloned()
    }
    fn get_higher_order_meta(&self, _name: &str) -> Option<Arc<HigherOrderUDF>> {
        None
    }
    fn get_aggregate_meta(&self, _name: &str) -> Option<Arc<AggregateUDF>> {
        None
    }
    fn get_window_meta(&self, _name: &str) -> Option<Arc<WindowUDF>> {
        None
    }
    fn get_variable_type(&self, _names: &[String]) -> Option<arrow::datatypes::DataType> {
        None
    }
    fn options(&self) -> &ConfigOptions {
        &self.options
    }
    fn udf_names(&self) -> Vec<String> {
        self.names()
    }
    fn higher_order_function_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udaf_names(&self) -> Vec<String> {
        Vec::new()
    }
    fn udwf_names(&self) -> Vec<String> {
        Vec::new()
    }
}

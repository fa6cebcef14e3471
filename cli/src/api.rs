//! What operators, sources and sinks of other crates are made of, by one name each: such a crate depends on `weir` alone.

pub use weir_engine::{EngineError, Result};

/// Settings: how they are read from a definition, and how it is told what is wrong with them; and the columns that they are about.
pub mod settings {
    pub use weir_operators::{
        definition::{KeyPath, Mistake, Reader, duration},
        schema::{Column, ColumnSchema},
    };
}

/// Operators: batch in, batches out, with state.
pub mod operator {
    pub use weir_engine::{
        element::{Barrier, Batch, Port},
        hash::KeyHasher,
        ids::CheckpointId,
        key_group::{KeyGroupRange, key_group_of},
        operator::{Collector, Counter, Counters, Operator, OperatorContext},
        state::{Change, Segment, Snapshot, StateRows},
    };
    pub use weir_operators::{
        columns,
        dead_letters::RefusedRows,
        event_time::{event_time_type, event_times},
        expression::RefusedRow,
        extension::{OperatorGiven, OperatorInput, OperatorSettings, Timing},
    };
}

/// Sources: splits that are read in order, from a position on.
pub mod source {
    pub use futures::future::BoxFuture;
    pub use weir_engine::{
        env::Env,
        operator::{OperatorContext, Source},
    };
    pub use weir_operators::{
        confinement::{Location, Place},
        dead_letters::DeadLetter,
        source::{
            Nature, SourceConnector, SourceGiven, SourceKind, Total, WatermarkSettings,
            reader::SourceReader,
            settings::SourceSettings,
            split_reader::{Connector, Discovery, Heard, OpenedSplit, RestoredSplit, SplitEvent, SplitReader},
        },
    };
}

/// Sinks: staged with a checkpoint, committed behind it.
pub mod sink {
    pub use futures::future::BoxFuture;
    pub use weir_engine::{
        element::{Barrier, Batch},
        ids::{Attempt, CheckpointId, Lineage},
        operator::{CommitOutcome, Committable, Committer, CommitterContext, OperatorContext, Sink, SweepScope},
    };
    pub use weir_operators::{
        confinement::{Location, Place},
        sink::{Owned, SinkConnector, SinkGiven, SinkJob, SinkKind, SinkResults, SinkRhythm, StoredSink},
    };
}

/// Tests of operators, without a job: fed by hand, restarted and rescaled.
pub mod testing {
    pub use weir_engine::testing::{OperatorHarness, StoredRows};
    pub use weir_operators::testing::{Emitted, Subtasks};
}

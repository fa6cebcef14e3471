//! What the links of a chain, and its outputs, are told of event time.

use super::*;
use crate::{key_group::KeyGroupRange, operator::Counters};

/// Holds event time back by so much, and keeps what it is told.
struct Holds(i64, Arc<Mutex<Vec<i64>>>);

impl Operator for Holds {
    fn process(&mut self, _input: usize, batch: Batch, out: &mut Collector) -> Result<()> {
        out.emit(Port::MAIN, batch);
        Ok(())
    }

    fn watermark(&mut self, watermark: i64, _out: &mut Collector) -> Result<()> {
        self.1.lock().push(watermark);
        Ok(())
    }

    fn watermark_behind(&self, watermark: i64) -> i64 {
        watermark.saturating_sub(self.0)
    }
}

#[test]
fn behind_an_operator_that_holds_it_back_event_time_is_less() {
    let told: Vec<Arc<Mutex<Vec<i64>>>> = (0..3).map(|_| Arc::default()).collect();
    let link = |number: usize, holds: i64, targets: &[ChainTarget]| {
        let body = LinkBody::Operator(Box::new(Holds(holds, told[number].clone())));
        let targets = targets.iter().map(|target| (Port::MAIN, *target)).collect();
        Link::new(format!("link{number}"), body, targets, 0, KeyGroupRange::all(1), Counters::default())
    };
    use ChainTarget::{Link as To, Output};
    // 0 feeds 1 and 2, which hold back on their own.
    let links = vec![link(0, 10, &[To(1), Output(2), To(2)]), link(1, 0, &[Output(0)]), link(2, 5, &[Output(1)])];
    let mut chain = Chain { links };
    chain.watermark(100, &mut Vec::new()).unwrap();
    assert_eq!(told.iter().map(|told| told.lock().clone()).collect::<Vec<_>>(), [[100], [90], [90]]);
    assert_eq!(chain.times_of_outputs(100), [90, 85, 90]);
}

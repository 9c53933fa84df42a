//! `percentile_disc` and `median` over all values, as the reports define them.
//!
//! SQL's `percentile_disc` is the nearest rank of [`reports::stats::percentile`], and `median`
//! of an even number is the middle between the two in the middle, whole ns downwards: what
//! `Summary` says. `DataFusion` has no `percentile_disc`; its `median` is replaced by one that
//! takes values of a group by the slice.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, Int64Builder, ListArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use datafusion::physical_expr::expressions::Literal;

/// Which value of all is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rank {
    /// The middle.
    Median,
    /// The nearest rank, in percent.
    Percent(f64),
}

/// The functions for a session.
#[must_use]
pub fn functions() -> [AggregateUDF; 2] {
    [false, true].map(|median| {
        let types = if median {
            vec![DataType::Int64]
        } else {
            vec![DataType::Int64, DataType::Float64]
        };
        AggregateUDF::from(Exact {
            median,
            signature: Signature::exact(types, Volatility::Immutable),
        })
    })
}

/// One of the two functions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Exact {
    median: bool,
    signature: Signature,
}

impl Exact {
    fn rank(&self, args: &AccumulatorArgs<'_>) -> Result<Rank> {
        if self.median {
            return Ok(Rank::Median);
        }
        let literal = args.exprs.get(1).and_then(|e| e.downcast_ref::<Literal>());
        match literal.map(Literal::value) {
            Some(ScalarValue::Float64(Some(share))) if (0.0..=1.0).contains(share) => {
                let descending = args
                    .order_bys
                    .first()
                    .is_some_and(|by| by.options.descending);
                if descending {
                    return exec_err!("percentile_disc: order by the value, ascending");
                }
                Ok(Rank::Percent(share * 100.0))
            }
            _ => exec_err!("percentile_disc takes a number between 0 and 1, as 0.99"),
        }
    }
}

impl AggregateUDFImpl for Exact {
    fn name(&self) -> &str {
        if self.median {
            "median"
        } else {
            "percentile_disc"
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let list = DataType::List(item());
        Ok(vec![Arc::new(Field::new(args.name, list, true))])
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let rank = self.rank(&args)?;
        Ok(Box::new(Alone(Groups::new(rank))))
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs<'_>,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Groups::new(self.rank(&args)?)))
    }

    // Whatever its order: nothing is sorted beforehand.
    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn supports_within_group_clause(&self) -> bool {
        !self.median
    }
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Int64, true))
}

/// The values of each group.
#[derive(Debug)]
struct Groups {
    rank: Rank,
    values: Vec<Vec<i64>>,
}

impl Groups {
    fn new(rank: Rank) -> Self {
        let values = Vec::new();
        Self { rank, values }
    }
}

impl Rank {
    fn of(self, values: &mut [i64]) -> Option<i64> {
        let (middle, even) = (values.len() / 2, values.len().is_multiple_of(2));
        match self {
            Self::Median if values.is_empty() => None,
            Self::Median => {
                let (below, upper, _) = values.select_nth_unstable(middle);
                let lower = below.iter().max().filter(|_| even);
                Some(lower.map_or(*upper, |lower| lower.midpoint(*upper)))
            }
            Self::Percent(percent) => nearest(values, percent),
        }
    }
}

fn nearest(values: &mut [i64], percent: f64) -> Option<i64> {
    // The rank by the one definition, of places instead of values.
    let place = reports::stats::place(values.len(), percent)?;
    Some(*values.select_nth_unstable(place).1)
}

impl GroupsAccumulator for Groups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.values.resize_with(count, Vec::new);
        let Some(values) = values.first().map(AsArray::as_primitive::<Int64Type>) else {
            return Ok(());
        };
        if values.null_count() > 0 || filter.is_some() {
            for (row, group) in groups.iter().enumerate() {
                let counts = filter.is_none_or(|f| f.is_valid(row) && f.value(row));
                if counts && values.is_valid(row) {
                    self.values[*group].push(values.value(row));
                }
            }
            return Ok(());
        }
        // Files are sorted by group: most batches are a few slices.
        let mut rest = &values.values()[..];
        for run in groups.chunk_by(|a, b| a == b) {
            let (slice, after) = rest.split_at(run.len());
            self.values[run[0]].extend_from_slice(slice);
            rest = after;
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.values.resize_with(count, Vec::new);
        let Some(lists) = states.first().map(AsArray::as_list::<i32>) else {
            return Ok(());
        };
        for (list, group) in lists.iter().zip(groups) {
            if let Some(list) = list {
                let slice = &list.as_primitive::<Int64Type>().values()[..];
                self.values[*group].extend_from_slice(slice);
            }
        }
        Ok(())
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let values = emit_to.take_needed(&mut self.values);
        Ok(vec![Arc::new(lists(&values))])
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let mut values = emit_to.take_needed(&mut self.values);
        let mut found = Int64Builder::with_capacity(values.len());
        for values in &mut values {
            found.append_option(self.rank.of(values));
        }
        Ok(Arc::new(found.finish()))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let mut each = Groups::new(self.rank);
        let rows = values.first().map_or(0, Array::len);
        let groups: Vec<usize> = (0..rows).collect();
        each.update_batch(values, &groups, filter, rows)?;
        each.state(EmitTo::All)
    }

    fn size(&self) -> usize {
        let values: usize = self.values.iter().map(Vec::capacity).sum();
        values * size_of::<i64>() + self.values.capacity() * size_of::<Vec<i64>>()
    }
}

fn lists(values: &[Vec<i64>]) -> ListArray {
    let lengths = OffsetBuffer::from_lengths(values.iter().map(Vec::len));
    let all: Int64Array = values.concat().into();
    ListArray::new(item(), lengths, Arc::new(all), None)
}

/// One group.
#[derive(Debug)]
struct Alone(Groups);

impl Accumulator for Alone {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let rows = values.first().map_or(0, Array::len);
        self.0.update_batch(values, &vec![0; rows], None, 1)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let rows = states.first().map_or(0, Array::len);
        self.0.merge_batch(states, &vec![0; rows], 1)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.0.values.resize_with(1, Vec::new);
        Ok(vec![ScalarValue::List(Arc::new(lists(&self.0.values)))])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.0.values.resize_with(1, Vec::new);
        let rank = self.0.rank;
        Ok(ScalarValue::Int64(rank.of(&mut self.0.values[0])))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.size()
    }
}

//! `sample(value, salt)`: some of a group's values, the same ones however they are read.
//!
//! Of each row, `(value, salt)` is hashed; the rows with the smallest hashes are the sample.
//! So it is drawn at random, needs no order of rows, and two samples merge into that of both.

use std::collections::BinaryHeap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, ListArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility,
};

/// Most values of a sample. Two of as many take a quarter of a million differences to compare.
pub const MOST: usize = 500;

/// Hash and value, the largest hash on top.
#[derive(Clone, Debug, Default)]
pub struct Sample(BinaryHeap<(i64, i64)>);

impl Sample {
    fn add(&mut self, hash: i64, value: i64) {
        if self.0.len() < MOST {
            self.0.push((hash, value));
        } else if self.0.peek().is_some_and(|(largest, _)| hash < *largest) {
            self.0.pop();
            self.0.push((hash, value));
        }
    }

    /// The sample of both.
    pub fn merge(&mut self, other: &Self) {
        for (hash, value) in &other.0 {
            self.add(*hash, *value);
        }
    }

    /// Its values.
    #[must_use]
    pub fn values(&self) -> Vec<i64> {
        self.0.iter().map(|(_, value)| *value).collect()
    }

    /// The sample in the list that SQL returns: hash, value, hash, value.
    #[must_use]
    pub fn of(list: &Int64Array) -> Self {
        let mut sample = Self::default();
        for pair in list.values().chunks_exact(2) {
            if let [hash, value] = pair {
                sample.add(*hash, *value);
            }
        }
        sample
    }
}

/// Every bit of the result depends on every bit of both (`SplitMix64`'s finish).
fn hash(value: i64, salt: i64) -> i64 {
    let mut z = value.cast_unsigned() ^ salt.cast_unsigned().rotate_left(32);
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)).cast_signed()
}

/// The function for a session.
#[must_use]
pub fn function() -> AggregateUDF {
    let types = vec![DataType::Int64, DataType::Int64];
    AggregateUDF::from(Function(Signature::exact(types, Volatility::Immutable)))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function(Signature);

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Int64, true))
}

impl AggregateUDFImpl for Function {
    fn name(&self) -> &'static str {
        "sample"
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(item()))
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(vec![Arc::new(Field::new(
            args.name,
            DataType::List(item()),
            true,
        ))])
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::<Sample>::default())
    }
}

impl Accumulator for Sample {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [values, salts] = values else {
            return Ok(());
        };
        let (values, salts) = (
            values.as_primitive::<Int64Type>(),
            salts.as_primitive::<Int64Type>(),
        );
        for (value, salt) in values.iter().zip(salts) {
            if let Some((value, salt)) = value.zip(salt) {
                self.add(hash(value, salt), value);
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states.first().map(AsArray::as_list::<i32>);
        for list in lists.into_iter().flat_map(ListArray::iter).flatten() {
            self.merge(&Self::of(list.as_primitive::<Int64Type>()));
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let pairs: Vec<i64> = self
            .0
            .iter()
            .flat_map(|(hash, value)| [*hash, *value])
            .collect();
        let one = OffsetBuffer::from_lengths([pairs.len()]);
        let list = ListArray::new(item(), one, Arc::new(Int64Array::from(pairs)), None);
        Ok(ScalarValue::List(Arc::new(list)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.0.capacity() * size_of::<(i64, i64)>()
    }
}

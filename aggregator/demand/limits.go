package demand

import "math"

// The model's constants. They are ours; none is a law.
const (
	halfLifeUS   = 28 * 86_400 * 1_000_000 // what was sold four weeks ago counts half
	halfLifeH    = 28 * 24
	priorUnits   = 0.1 // Gamma prior: a tenth of a unit …
	priorHours   = 24  // … in a day
	profileHours = 168
	shrinkLines  = 2000 // sale lines at which a store's own week outweighs the chain's

	widenPerDay = 0.02 // of variance, per day since the last count
	widenMost   = 1    // … and no more than that
	unevenness  = 0.05 // squared coefficient of variation of a stretch's own rate
	exactMean   = 200  // above it the normal law with its skewness is close enough
	alphaMost   = 0.999999
)

// Bounds of the learner and its checkpoint.
const (
	shardCells     = 1024
	locationsChunk = 16 // locations in one chunk
	cellChunk      = 4096
	cellsMax       = (65_536 - cellChunk) * shardCells
	locationsMax   = (cellChunk - 1) * locationsChunk
	chunkVersion   = 2

	aheadMost   = 8  // half-lives: a shard's weights are rescaled beyond
	behindMost  = 16 // half-lives before its origin from which "first seen" is exact
	tickUS      = 900 * 1_000_000
	ticksOfHalf = halfLifeUS / tickUS
	eventMaxUS  = 4_102_444_800_000_000 // the year 2100
	originMax   = eventMaxUS/halfLifeUS + 1
)

// exposureMostH is the exposure of what was seen for ever, in hours.
const exposureMostH = halfLifeH / math.Ln2

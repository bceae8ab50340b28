package simulator

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// poison makes a document that must be refused, and never journaled.
func poison(s *shop, at time.Time, rng *rand.Rand) (kind string, body []byte) {
	id := fmt.Sprintf("%s-BAD-%016x", s.Store, rng.Uint64())
	now := tillTime(at)
	good := string(s.goods.articles[0].SKU)
	wrong := []byte(good)
	wrong[len(wrong)-1] = '0' + (wrong[len(wrong)-1]-'0'+1)%10
	line := func(rest string) string {
		return fmt.Sprintf(`{"document_id":%q,"occurred_at":%q,"lines":[{"line":1,%s}]}`, id, now, rest)
	}
	switch rng.IntN(8) {
	case 0: // the price of a basket cut off in mid-air
		return kindSale, []byte(line(`"sku":"` + good + `","quantity":1`)[:60])
	case 1:
		return kindSale, []byte(line(`"sku":"` + string(wrong) + `","quantity":1`))
	case 2:
		return kindSale, []byte(line(`"sku":"` + good + `","quantity":-2`))
	case 3:
		return kindSale, []byte(line(`"sku":"` + good + `","quantity":1,"colour":"blue"`))
	case 4:
		return kindReturn, []byte(line(`"sku":"` + good + `","quantity":"two"`))
	case 5:
		return kindSale, []byte(fmt.Sprintf(`{"document_id":%q,"occurred_at":"yesterday","lines":[{"line":1,"sku":%q,"quantity":1}]}`, id, good))
	case 6:
		return kindAdjustment, []byte(line(`"sku":"` + good + `","quantity":0.0001`))
	default:
		return kindSale, []byte(fmt.Sprintf(`{"occurred_at":%q,"lines":[{"line":1,"sku":%q,"quantity":1}]}`, now, good))
	}
}

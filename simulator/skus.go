package simulator

import (
	"fmt"
	"math/rand/v2"

	"tillwire/protocol"
)

// article is one thing on the shelves.
type article struct {
	SKU     protocol.SKU
	Weighed bool // sold by the kilogram, three decimals
}

// uom is the UN/ECE code of the article's unit.
func (a article) uom() string {
	if a.Weighed {
		return "KGM"
	}
	return "EA"
}

// articles makes n GTIN-14 numbers with right check digits (GS1 General
// Specifications §7.9), from the range that GS1 keeps for examples (prefix 952),
// so that no number is a real product's. Every eleventh is sold by weight.
func articles(n int) []article {
	out := make([]article, n)
	for i := range out {
		body := fmt.Sprintf("0952%09d", 1000+i*7)
		out[i] = article{
			SKU:     protocol.SKU(body + string(protocol.CheckDigit(body))),
			Weighed: i%11 == 10,
		}
	}
	return out
}

// assortment is what one store carries, the best sellers of its chain first,
// and a Zipf sampler over it: few articles make most of the lines.
type assortment struct {
	articles []article
	zipf     *rand.Zipf
	rng      *rand.Rand
}

// newAssortment picks n of all: the chain's top half everywhere, the rest by
// the store's own taste.
func newAssortment(all []article, n int, rng *rand.Rand) *assortment {
	n = min(n, len(all), assortmentMax)
	a := &assortment{articles: make([]article, 0, n), rng: rng}
	common := n / 2
	a.articles = append(a.articles, all[:common]...)
	rest := rng.Perm(len(all) - common)
	for _, k := range rest[:n-common] {
		a.articles = append(a.articles, all[common+k])
	}
	a.zipf = rand.NewZipf(rng, 1.15, 4, uint64(n-1))
	return a
}

// pick draws the index of one article.
func (a *assortment) pick() int { return int(a.zipf.Uint64()) }

// amount draws what a customer takes of it.
func (a *assortment) amount(k int) protocol.Quantity {
	if a.articles[k].Weighed {
		return protocol.Quantity(120 + a.rng.IntN(1800))
	}
	switch r := a.rng.IntN(100); {
	case r < 78:
		return protocol.Units(1)
	case r < 92:
		return protocol.Units(2)
	case r < 97:
		return protocol.Units(3)
	default:
		return protocol.Units(int64(4 + a.rng.IntN(9)))
	}
}

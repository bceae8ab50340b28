package simulator

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"tillwire/protocol"
	"tillwire/simulator/scenario"
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
	fame     popularity
	rng      *rand.Rand
}

// popularity is how often the articles of an assortment are bought: the sums of
// 1/k^s up to each rank, as shares. Stores of one size share it.
type popularity []float64

func newPopularity(n int, s float64) popularity {
	p, sum := make(popularity, n), 0.0
	for k := range p {
		sum += math.Pow(float64(k+1), -s)
		p[k] = sum
	}
	for k := range p {
		p[k] /= sum
	}
	return p
}

// newAssortment picks n of all: the chain's top half everywhere, the rest by
// the store's own taste.
func newAssortment(all []article, n int, rng *rand.Rand) *assortment {
	return newAssortmentOf(all, newPopularity(min(n, len(all), assortmentMax), scenario.ZipfFitted), rng)
}

func newAssortmentOf(all []article, fame popularity, rng *rand.Rand) *assortment {
	n := len(fame)
	a := &assortment{articles: make([]article, 0, n), fame: fame, rng: rng}
	common := n / 2
	a.articles = append(a.articles, all[:common]...)
	rest := rng.Perm(len(all) - common)
	for _, k := range rest[:n-common] {
		a.articles = append(a.articles, all[common+k])
	}
	return a
}

// pick draws the index of one article.
func (a *assortment) pick() int { return a.fame.pick(a.rng) }

func (p popularity) pick(rng *rand.Rand) int {
	k, _ := slices.BinarySearch(p, rng.Float64())
	return min(k, len(p)-1)
}

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

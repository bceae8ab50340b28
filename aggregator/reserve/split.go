package reserve

import (
	"fmt"

	"tillwire/protocol"
)

// Split makes part of a reservation one of its own, in the same state: a channel's
// order that goes out, or is cancelled, in parts. Nothing is let go in between: both
// changes are journaled in one commit, the smaller first. A part that is there
// already is answered, and nothing is changed.
func (b *Book) Split(id, partID string, lines []protocol.HoldLine, nowUS int64) (changes []*Change, answer protocol.Reservation, problem *protocol.Problem) {
	b.Advance(nowUS)
	if e := b.all[partID]; e != nil {
		return nil, e.answer(), nil
	}
	e, p := b.find(id, nowUS)
	if p != nil {
		return nil, answer, p
	}
	rest := e.copy(b.nowUS)
	part := rest
	part.ID, part.Hash, part.CreatedUS, part.Elsewhere, part.Lines = partID, 0, b.nowUS, "", nil
	for _, want := range lines {
		left := want.Quantity
		for i := range rest.Lines {
			l := &rest.Lines[i]
			if left <= 0 || l.SKU != want.SKU || !l.live() {
				continue
			}
			n := min(left, l.Quantity)
			piece := *l
			piece.Quantity, piece.Short = n, 0
			part.Lines = append(part.Lines, piece)
			left -= n
			if l.Quantity -= n; l.Quantity == 0 {
				l.State, l.Risk, l.Reason = protocol.ReservationReleased, false, "goes on as "+partID
			}
		}
		if left > 0 {
			return nil, answer, refuse("reservation_state", "The reservation's state does not allow this",
				fmt.Sprintf("reservation %s holds %s less of %s than is to be split off", id, left, want.SKU), "split off what is held; reserve the rest anew")
		}
	}
	if len(part.Lines) == 0 {
		return nil, answer, refuse("reservation_state", "The reservation's state does not allow this", "nothing is to be split off "+id, "name what is to be split off")
	}
	if !rest.reserving() {
		rest.ExpiresUS = 0
	}
	if !part.reserving() {
		part.ExpiresUS = 0
	}
	return []*Change{change("split", rest), change("split", part)}, part.answer(), nil
}

package web

import (
	"fmt"
	"strings"
	"testing"

	"tillwire/protocol"
)

func needy(i int, code string, sinceS int64) protocol.Tile {
	return protocol.Tile{Index: i, Store: protocol.StoreID(fmt.Sprintf("S%d", i)), Region: "Rhine", Urgent: code, Urgency: 6, SinceUS: sinceS * 1e6}
}

func TestOneCauseIsOneCall(t *testing.T) {
	for _, c := range []struct {
		name          string
		code          string
		sinces        []int64
		rows, grouped int
	}{
		{"a provider is down", "store_offline", []int64{1000, 1010, 1200, 1300}, 1, 4},
		{"two are two", "store_offline", []int64{1000, 1010}, 2, 0},
		{"far apart", "store_offline", []int64{1000, 2000, 3000, 4000}, 4, 0},
		{"one was down before", "store_offline", []int64{1000, 9000, 9100, 9200}, 2, 3},
		{"disks fail one by one", "disk_low", []int64{1000, 1001, 1002}, 3, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var g []protocol.Tile
			for i, s := range c.sinces {
				g = append(g, needy(i, c.code, s))
			}
			rows, grouped := gather("Rhine", c.code, g, 40), 0
			for i := range rows {
				grouped += rows[i].Stores
				if x := &rows[i]; x.Stores > 0 && (!strings.Contains(x.What(), "of 40 stores") || x.Do == "" || !strings.Contains(x.All, "region=Rhine")) {
					t.Errorf("%s / %s / %s", x.What(), x.Do, x.All)
				}
			}
			if len(rows) != c.rows || grouped != c.grouped {
				t.Errorf("%d rows, %d stores in one of them; want %d and %d", len(rows), grouped, c.rows, c.grouped)
			}
		})
	}
}

package simulator

// HTML is the result as one page for people.
func (r *FleetResult) HTML() []byte { return nil }

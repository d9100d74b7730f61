package hub

// deltas lets text pass that a workload of the present epoch writes. It changes nothing.
func (m *machine) deltas(o *output, ev evDeltas) {
	s := m.sessions[ev.session]
	for _, d := range ev.deltas {
		if s.at(ev.cluster, d.Source.Epoch) {
			o.effect(effDelta{d})
		}
	}
}

package policy

// Reason is one step to a decision.
type Reason struct {
	Layer Layer  `json:"layer"`
	Text  string `json:"text"`
}

// Trace is a decision and how it came about.
type Trace struct {
	Decision Decision `json:"-"`
	Outcome  Outcome  `json:"decision"`
	Reasons  []Reason `json:"reasons"`
}

// Explain returns the decision of [Decide] and its reasons.
func Explain(r *Request, p *Policies) *Trace {
	d := Decide(r, p)
	return &Trace{Decision: d, Outcome: d.Outcome}
}

package flow

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Cron is a parsed schedule of five fields: minute, hour, day of month, month, day of week; in UTC.
//
// Fields have *, numbers, names of months and days (Jan, January, Mon, Monday), ranges, lists and steps. Where both the
// day of the month and the day of the week are restricted, either suffices.
type Cron struct {
	minute, hour, day, month, weekday uint64 // bit sets
	anyDay, anyWeekday                bool
}

type cronField struct {
	name     string
	low, top int
	names    []string // from low on, in lower case
}

var cronFields = [5]cronField{
	{"minute", 0, 59, nil},
	{"hour", 0, 23, nil},
	{"day of the month", 1, 31, nil},
	{"month", 1, 12, []string{"january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november", "december"}},
	{"day of the week", 0, 6, []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}},
}

// ParseCron reads a schedule.
func ParseCron(text string) (*Cron, error) {
	parts := strings.Fields(text)
	if len(parts) != 5 {
		return nil, fmt.Errorf("the schedule '%s' has %d fields, it must have 5: minute hour day month weekday", shorten(text, 80), len(parts))
	}
	var c Cron
	sets := [5]*uint64{&c.minute, &c.hour, &c.day, &c.month, &c.weekday}
	for i, part := range parts {
		set, err := cronFields[i].parse(part)
		if err != nil {
			return nil, fmt.Errorf("the schedule '%s': %w", shorten(text, 80), err)
		}
		*sets[i] = set
	}
	c.anyDay, c.anyWeekday = strings.HasPrefix(parts[2], "*"), strings.HasPrefix(parts[4], "*")
	if _, err := c.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)); err != nil {
		return nil, fmt.Errorf("the schedule '%s' never comes: no month it names has such a day", shorten(text, 80))
	}
	return &c, nil
}

func (f cronField) parse(text string) (uint64, error) {
	var set uint64
	for _, item := range strings.Split(text, ",") {
		span, stepText, stepped := strings.Cut(item, "/")
		step := 1
		if stepped {
			n, err := strconv.Atoi(stepText)
			if err != nil || n < 1 || n > f.top {
				return 0, fmt.Errorf("the step '%s' of the %s must be a number between 1 and %d", stepText, f.name, f.top)
			}
			step = n
		}
		from, to := f.low, f.top
		if span != "*" {
			first, last, ranged := strings.Cut(span, "-")
			var err error
			if from, err = f.value(first); err != nil {
				return 0, err
			}
			switch {
			case ranged:
				if to, err = f.value(last); err != nil {
					return 0, err
				}
			case !stepped:
				to = from
			}
			if to < from {
				return 0, fmt.Errorf("the range '%s' of the %s ends before it begins", span, f.name)
			}
		}
		for i := from; i <= to; i += step {
			set |= 1 << i
		}
	}
	return set, nil
}

func (f cronField) value(text string) (int, error) {
	if n, err := strconv.Atoi(text); err == nil && n >= f.low && n <= f.top && text[0] != '+' {
		return n, nil
	}
	low := strings.ToLower(text)
	for i, name := range f.names {
		if low == name || low == name[:3] {
			return f.low + i, nil
		}
	}
	return 0, fmt.Errorf("the %s '%s' is not between %d and %d", f.name, shorten(text, 20), f.low, f.top)
}

// Next is the first time after t. It fails if there is none.
func (c *Cron) Next(t time.Time) (time.Time, error) {
	t = t.UTC().Truncate(time.Minute).Add(time.Minute)
	day := time.Date(t.Year(), t.Month(), t.Day(), 0, 0, 0, 0, time.UTC)
	for range 366 * 9 { // from one 29 February to the next there may be eight years
		if c.matches(day) {
			for hour := range 24 {
				if c.hour>>hour&1 == 0 {
					continue
				}
				for minute := range 60 {
					if c.minute>>minute&1 == 0 {
						continue
					}
					if at := day.Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute); !at.Before(t) {
						return at, nil
					}
				}
			}
		}
		day = day.AddDate(0, 0, 1)
	}
	return time.Time{}, fmt.Errorf("the schedule never comes after %s", t.Format(time.DateOnly))
}

func (c *Cron) matches(day time.Time) bool {
	if c.month>>int(day.Month())&1 == 0 {
		return false
	}
	dayOK, weekdayOK := c.day>>day.Day()&1 == 1, c.weekday>>int(day.Weekday())&1 == 1
	if c.anyDay || c.anyWeekday {
		return dayOK && weekdayOK
	}
	return dayOK || weekdayOK
}

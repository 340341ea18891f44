package gormstore

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// strict makes a row that holds NULL where its column never should an error. gorm
// would read a zero instead, which says of a session, for one, that nobody has
// revoked it. The tag `gorm:"nullable"` is for a column that may.
func strict(g *gorm.DB) error {
	var known sync.Map // *schema.Schema -> *sync.Once
	watch := func(g *gorm.DB) {
		s := g.Statement.Schema
		if s == nil {
			return
		}
		once, ok := known.Load(s)
		if !ok {
			once, _ = known.LoadOrStore(s, new(sync.Once))
		}
		once.(*sync.Once).Do(func() {
			for _, f := range s.Fields {
				if f.DBName != "" && f.FieldType.Kind() != reflect.Pointer && f.FieldType.Kind() != reflect.Slice { // bytes may be NULL: nil
					notNull(f)
				}
			}
		})
	}
	// Before statements of every kind: they share the schema, and writes read rows
	// too, with RETURNING.
	c := g.Callback()
	const name = "tokenhouse:strict"
	return errors.Join(
		c.Create().Before("*").Register(name, watch), c.Query().Before("*").Register(name, watch),
		c.Update().Before("*").Register(name, watch), c.Delete().Before("*").Register(name, watch),
		c.Row().Before("*").Register(name, watch), c.Raw().Before("*").Register(name, watch),
	)
}

func notNull(f *schema.Field) {
	set := f.Set
	f.Set = func(ctx context.Context, row reflect.Value, value any) error {
		if scanned := reflect.ValueOf(value); scanned.Kind() == reflect.Pointer && scanned.Elem().Kind() == reflect.Pointer && scanned.Elem().IsNil() {
			return fmt.Errorf("the column %s holds NULL, which it must not: the schema is not ours", f.DBName)
		}
		return set(ctx, row, value)
	}
}

package gormstore

import (
	"context"
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
	return g.Callback().Query().Before("gorm:query").Register("tokenhouse:strict", func(g *gorm.DB) {
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
	})
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

"""Given objects, "this one": points and a box that single out one object, from the files in which people have them.

`coco`, `yolo` and `cells` read them, `entries` checks them one by one, `table` holds all of them as arrays.
"""

"""Tell the kernel what is on a board, as firmware does: a device tree, or ACPI's table of interrupt controllers.

| file | what |
| --- | --- |
| ``devicetree.py`` | nodes with typed properties; which node is whose interrupt parent |
| ``read.py`` | trees from ``.dts`` and ``.dtb`` files |
| ``of_irq.py`` | start interrupt controllers, parents first |
| ``acpi.py`` | start interrupt controllers from ACPI's table |
| ``irqchip.py`` | the table of drivers by compatible string, and both ways in |

Nothing here knows a controller; drivers are functions that whoever wires the machine enters into the table.
"""

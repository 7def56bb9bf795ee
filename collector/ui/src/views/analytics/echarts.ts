// The parts of ECharts that the analytics draw with; loaded when the first chart is.
import { BarChart, CustomChart, LineChart, PieChart, ScatterChart } from 'echarts/charts';
import {
  DataZoomComponent,
  GridComponent,
  MarkLineComponent,
  TitleComponent,
  TooltipComponent,
} from 'echarts/components';
import { init, use } from 'echarts/core';
import { LabelLayout } from 'echarts/features';
import { CanvasRenderer } from 'echarts/renderers';

use([BarChart, CustomChart, LineChart, PieChart, ScatterChart, CanvasRenderer]);
use([DataZoomComponent, GridComponent, MarkLineComponent]);
use([TitleComponent, TooltipComponent, LabelLayout]);

export { init };
